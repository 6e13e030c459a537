"""Programs by coremltools' builder: control flow, states, functions, float16 arithmetic, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgewright.errors import BadInput, BadModel, UnsupportedOps
from edgewright.runtimes.artifact import artifact_at
from edgewright.runtimes.mil.evaluate import evaluate
from edgewright.runtimes.mil.interpreter import Machine
from edgewright.runtimes.mil.operators import operations
from edgewright.runtimes.mil.program import open_program
from edgewright.runtimes.mil.session import MilSession
from edgewright.runtimes.mil.sums import Float16Sums, Float32Sums
from edgewright.runtimes.runtime import runtimes

Saved = Callable[[Callable[[str], Any]], Path]
X = np.array([[1.5, -2, 3]], np.float32)


def written(saved: Saved, build: Callable[..., Any], *specs: Any, precision: str = "FLOAT32") -> Path:
    """The package of a function of the MIL builder."""
    import coremltools as ct
    from coremltools.converters.mil import Builder

    program = Builder.program(input_specs=list(specs), opset_version=ct.target.iOS18)(build)
    return saved(
        lambda place: ct.convert(
            program,
            source="milinternal",
            minimum_deployment_target=ct.target.iOS18,
            compute_precision=getattr(ct.precision, precision),
            skip_model_load=True,
            package_dir=place,
        )
    )


def spec(*shape: int) -> Any:
    from coremltools.converters.mil import Builder

    return Builder.TensorSpec(shape)


def test_loop_and_branches(saved: Saved) -> None:
    from coremltools.converters.mil import Builder as mb  # noqa: N813

    def build(x: Any) -> Any:
        total = mb.reduce_sum(x=x, axes=[0, 1], keep_dims=False)
        halved, rounds = mb.while_loop(
            _cond=lambda s, _n: mb.greater(x=s, y=1.0),
            _body=lambda s, n: (mb.mul(x=s, y=0.5), mb.add(x=n, y=1)),
            loop_vars=(total, 0),
        )
        odd = mb.equal(x=mb.mod(x=rounds, y=2), y=1)
        return mb.cond(pred=odd, _true_fn=lambda: mb.add(x=x, y=halved), _false_fn=lambda: mb.mul(x=x, y=halved))

    package = written(saved, build, spec(1, 3))
    program = open_program(package)

    def answer(x: Any) -> Any:
        return next(iter(Machine(program).call({"x": x}).outputs.values()))

    np.testing.assert_array_equal(answer(X), X * np.float32(0.625))  # 2.5 → 1.25 → 0.625: two rounds
    np.testing.assert_array_equal(answer(2 * X), 2 * X + np.float32(0.625))  # three
    np.testing.assert_array_equal(answer(-X), X * np.float32(2.5))  # none


def test_a_state_lasts_from_call_to_call(saved: Saved) -> None:
    from coremltools.converters.mil import Builder as mb  # noqa: N813
    from coremltools.converters.mil.mil import types

    def build(x: Any, memory: Any) -> Any:
        grown = mb.add(x=mb.read_state(input=memory), y=mb.cast(x=x, dtype="fp16"))
        return mb.cast(x=mb.coreml_update_state(state=memory, value=grown), dtype="fp32", name="sum")

    package = written(saved, build, spec(1, 3), mb.StateTensorSpec((1, 3), dtype=types.fp16))
    session = MilSession(package)
    for count in (1, 2, 3):
        np.testing.assert_array_equal(session.run({"x": X})["sum"], count * X)
    assert session.evaluate({"x": X}).state["memory"].tolist() == (4 * X).tolist()
    np.testing.assert_array_equal(MilSession(package).run({"x": X})["sum"], X)


def test_functions_by_name(saved: Saved, tmp_path: Path) -> None:
    import coremltools as ct
    from coremltools.converters.mil import Builder as mb  # noqa: N813

    def both(place: str) -> None:
        parts = {"grow": lambda x: mb.add(x=x, y=1.0, name="y"), "shrink": lambda x: mb.sub(x=x, y=1.0, name="y")}
        described = ct.utils.MultiFunctionDescriptor()
        for name, build in parts.items():
            program = mb.program(input_specs=[spec(1, 3)], opset_version=ct.target.iOS18)(build)
            part = str(tmp_path / f"{name}.mlpackage")
            ct.convert(
                program,
                source="milinternal",
                minimum_deployment_target=ct.target.iOS18,
                compute_precision=ct.precision.FLOAT32,
                skip_model_load=True,
                package_dir=part,
            )
            described.add_function(part, "main", name)
        described.default_function_name = "shrink"
        ct.utils.save_multifunction(described, place)

    package = saved(both)
    assert open_program(package).functions == ("grow", "shrink")
    answers = [Machine(open_program(package, name)).call({"x": X}).outputs["y"] for name in (None, "grow")]
    assert [answer.tolist() for answer in answers] == [(X - 1).tolist(), (X + 1).tolist()]
    with pytest.raises(BadModel, match="no function 'main'; it has grow, shrink"):
        open_program(package, "main")


def network(saved: Saved) -> tuple[nn.Module, Path]:
    import coremltools as ct

    torch.manual_seed(0)
    torch.set_num_threads(1)
    module = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, 2), nn.SiLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 8), nn.Softmax(-1),
    ).eval()  # fmt: skip

    def convert(place: str) -> None:
        traced = torch.jit.trace(module, torch.zeros(1, 3, 12, 12))
        ct.convert(
            traced,
            inputs=[ct.TensorType("x", (1, 3, 12, 12))],
            minimum_deployment_target=ct.target.iOS17,
            compute_precision=ct.precision.FLOAT16,
            skip_model_load=True,
            package_dir=place,
        )

    return module, saved(convert)


def test_float16_errs_like_half_precision_in_torch(saved: Saved) -> None:
    module, package = network(saved)
    x = np.random.default_rng(0).standard_normal((8, 1, 3, 12, 12)).astype(np.float32)
    program = open_program(package)
    with torch.no_grad():
        exact = np.stack([module(torch.from_numpy(row)).numpy() for row in x])
        half = np.stack([module.half()(torch.from_numpy(row).half()).float().numpy() for row in x])

    def error(arithmetic: Any) -> float:
        answers = [next(iter(Machine(program, arithmetic).call({"x": row}).outputs.values())) for row in x]
        return float(np.sqrt(np.square(np.stack(answers) - exact).mean()))

    of_torch = float(np.sqrt(np.square(half - exact).mean()))
    assert error("float32") < error("float16-storage") <= 1.5 * of_torch
    assert of_torch / 1.5 <= error("float16-storage") < error("float16-accumulate") < 10 * of_torch


def test_the_first_tensor_beyond_float16_is_named(saved: Saved) -> None:
    from coremltools.converters.mil import Builder as mb  # noqa: N813

    def build(x: Any) -> Any:
        big = mb.mul(x=x, y=30000.0, name="big")
        return mb.tanh(x=mb.mul(x=big, y=big, name="bigger"), name="y")

    package = written(saved, build, spec(1, 3), precision="FLOAT16")
    found = Machine(open_program(package), "float16-storage").call({"x": X})
    assert found.overflow is not None
    assert (found.overflow.tensor, found.overflow.operation) == ("big_cast_fp16", "mul")
    assert found.overflow.peak == 90000.0
    assert Machine(open_program(package), "float16-storage").call({"x": X / 100}).overflow.tensor == "bigger_cast_fp16"
    assert Machine(open_program(package), "float16-storage").call({"x": X / 1000}).overflow is None


def test_float16_sums_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 5, 33)).astype(np.float16), rng.standard_normal((2, 33, 4)).astype(np.float16)
    wanted = np.zeros((2, 5, 4), np.float16)
    for k in range(33):
        product = x[..., k, None].astype(np.float64) * y[..., k, None, :]
        wanted = (wanted + product).astype(np.float16)
    found = Float16Sums().matmul(torch.from_numpy(x).float(), torch.from_numpy(y).float())
    np.testing.assert_allclose(found.numpy(), wanted.astype(np.float32), atol=2e-3)
    image, weight = torch.randn(2, 6, 7, 8), torch.randn(4, 3, 3, 2)
    near, exact = (sums.conv(image, weight, [2, 1], [1, 2], 2) for sums in (Float16Sums(), Float32Sums()))
    assert 0 < float((near - exact).abs().max()) < 0.05
    total = Float16Sums().total(torch.ones(3, 5000), [1], keep=True)
    assert total.tolist() == [[2048.0]] * 3  # where one more is lost in float16


def test_what_it_does_not_know_is_listed_at_once(saved: Saved) -> None:
    from coremltools.converters.mil import Builder as mb  # noqa: N813

    def build(x: Any) -> Any:
        return mb.add(x=x, y=mb.random_normal(shape=[1, 3], seed=1)), mb.random_uniform(shape=[1, 3], seed=2)

    with pytest.raises(UnsupportedOps) as caught:
        open_program(written(saved, build, spec(1, 3)))
    assert sorted(caught.value.missing) == ["random_normal", "random_uniform"]
    assert {reason for reason, _ in caught.value.missing.values()} == {"not implemented"}


def test_an_operation_that_fails_says_where(saved: Saved) -> None:
    from coremltools.converters.mil import Builder as mb  # noqa: N813

    def build(x: Any) -> Any:
        return mb.gather(x=x, indices=mb.cast(x=x, dtype="int32"), axis=1, validate_indices=False, name="y")

    package = written(saved, build, spec(1, 3))
    assert evaluate(package, {"x": X - 1.5})["y"].tolist() == [[[0.0, 0.0, -3.5]]]  # coremltools adds 3 to -3
    with pytest.raises(BadInput, match=r"gather → y failed on these inputs: index -2: from iOS 17 on"):
        evaluate(package, {"x": X - 3})


def test_the_session_speaks_as_any_other(saved: Saved) -> None:
    module, package = network(saved)
    x = np.random.default_rng(1).standard_normal((1, 3, 12, 12)).astype(np.float32)
    session = runtimes()["mil-evaluator"].load(artifact_at(package))
    (name,) = [info.name for info in session.contract.outputs]
    with torch.no_grad():
        wanted = module(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(session.run({"x": x})[name], wanted, atol=2e-3)
    inner = session.intermediates({"x": x})
    assert [array.shape for array in inner.values() if array.ndim == 4][:2] == [(1, 16, 12, 12)] * 2
    session.prepared({"x": x})()
    with pytest.raises(BadInput, match="wants shape"):
        session.run({"x": x[:, :2]})


def test_parameters_are_those_of_coremltools() -> None:
    """Each operation of the evaluator takes every input of every version of it, and needs none that is optional."""
    import coremltools  # noqa: F401
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

    run, decode = operations()
    for name, operator in (dict(run) | dict(decode)).items():
        for version in set(SSAOpRegistry.core_ops[name].values()):
            inputs = version.input_spec.input_types
            given = {"x" if key == "input" else key for key in inputs}
            needed = {"x" if key == "input" else key for key, kind in inputs.items() if not kind.optional}
            assert operator.problems(given) == [], name
            assert operator.problems(needed) == [], name
