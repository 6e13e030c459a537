"""Programs by coremltools' builder, judged: verdicts, reasons and sources, totals, memory by hand."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewright.benchmarks.fit import Fit, Verdict, fit
from edgewright.benchmarks.mac.family_bundle import write_family
from edgewright.benchmarks.neural_engine.lint import Lint, lint
from edgewright.benchmarks.neural_engine.rules import hits
from edgewright.benchmarks.neural_engine.table import Eligibility, table
from edgewright.devices.device import Figure, device
from edgewright.devices.spec import Format, Precision
from edgewright.errors import BadModel
from edgewright.export.coreml.convert import coreml_float16
from edgewright.export.coreml.options import CoremlOptions
from edgewright.export.steps import Job
from edgewright.runtimes.artifact import artifact_at
from edgewright.runtimes.contract import Contract
from edgewright.runtimes.read import read
from edgewright.runtimes.read.memory import activation_peak_bytes
from edgewright.runtimes.read.mil_blocks import Block, Constant, Operation, Program, Value, read_program
from edgewright.runtimes.read.model import Model

Judge = Callable[..., Lint]


def ones(*shape: int) -> Any:
    return np.ones(shape, np.float32)


@pytest.fixture
def judged(tmp_path: Path) -> Judge:
    """(function of the builder and x [1, 8, 12, 16], precision) → its lint."""

    def place(precision: str) -> Path:
        return tmp_path / f"{precision}.mlpackage"

    def judge(family: Callable[[Any, Any], Mapping[str, Any]], precision: str = "float16") -> Lint:
        write_family(family, precision, place(precision))
        return lint(place(precision))

    return judge


def reasons(found: Lint, type_: str) -> list[tuple[Eligibility, str]]:
    return [(each.finding.verdict, each.finding.reason) for each in found.operations if each.type == type_]


def test_every_operation_of_coremltools_has_one_row_with_a_source() -> None:
    import coremltools  # noqa: F401
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

    known = {name for name in SSAOpRegistry.core_ops if "const" not in name}
    rows = table().operations
    assert known - set(rows) == {"classify", "conv_quantized"}
    assert set(rows) - known == {"write_state"}
    assert all(row.source.startswith("https://") for row in rows.values())
    verdicts = [row.verdict.value for row in rows.values()]
    assert {kind: verdicts.count(kind) for kind in set(verdicts)} == {"eligible": 104, "not": 38, "unknown": 16}


def test_verdicts_by_operation_and_by_rule(judged: Judge) -> None:
    def family(b: Any, x: Any) -> Mapping[str, Any]:
        values, _ = b.topk(x=x, k=3, axis=3)
        return {
            "wide": b.conv(x=x, weight=ones(8, 8, 1, 16)),
            "wider": b.conv(x=b.tile(x=x, reps=[1, 1, 1, 4]), weight=ones(8, 8, 1, 64)),
            "plain": b.conv(x=x, weight=ones(8, 8, 3, 3)),
            "reflected": b.pad(x=x, pad=[1, 1], mode="reflect"),
            "padded": b.pad(x=x, pad=[1, 1], mode="constant"),
            "tiled": b.tile(x=x, reps=[1, 1, 5, 1]),
            "pooled": b.avg_pool(x=x, kernel_sizes=[1, 16], pad_type="valid"),
            "gathered": b.gather(x=x, indices=np.array([1, 0], np.int32), axis=1),
            "top": values,
            "sorted": b.cast(x=b.argsort(x=x, axis=3), dtype="fp32"),
            "product": b.reduce_prod(x=x, axes=[3]),
        }

    found = judged(family)
    no, maybe, yes = Eligibility.NOT, Eligibility.UNKNOWN, Eligibility.ELIGIBLE
    assert reasons(found, "conv") == [
        (maybe, "kernel of 16; 13 at most on M1"),
        (no, "kernel of 64; one of 400 is seen on the CPU alone"),
        (yes, "native from M1 to M5"),
    ]
    assert reasons(found, "pad") == [(maybe, "padding by reflect: from M2 on"), (yes, "native from M1 to M5")]
    assert reasons(found, "tile") == [
        (yes, "native from M1 to M5"), (maybe, "repeats by other than 2, 3, 4 and 8"),
    ]  # fmt: skip
    assert reasons(found, "avg_pool") == [(maybe, "window of 16; above 13 was seen to leave it")]
    assert [reasons(found, kind)[0][0] for kind in ("gather", "topk", "argsort", "reduce_prod")] == [no] * 4
    assert reasons(found, "argsort") == [(no, "computes 32-bit integers, which it has not")]
    sources = {each.type: each.finding.source for each in found.operations}
    assert sources["pad"].endswith("/op-catalog/")
    assert sources["gather"].endswith("TextDecoder.mlcomputeplan.json")
    assert sources["reduce_prod"].endswith("/op-catalog/")


def test_float32_is_not_eligible_and_casts_are(judged: Judge) -> None:
    def family(b: Any, x: Any) -> Mapping[str, Any]:
        return {"y": b.relu(x=b.conv(x=x, weight=ones(4, 8, 1, 1)))}

    single, half = judged(family, "float32"), judged(family)
    assert single.macs(Eligibility.ELIGIBLE) == 0 and half.macs(Eligibility.ELIGIBLE) == half.macs() == 12 * 16 * 8 * 4
    assert reasons(single, "relu")[0][1] == "computes float32; what is typed float32 takes the CPU or the GPU"
    assert [each.type for each in half.operations] == ["cast", "conv", "relu", "cast"]
    assert half.switches == 0


def test_switches_and_shares(judged: Judge) -> None:
    """conv, sinh, conv, sinh: the middle one is left and taken again."""

    def family(b: Any, x: Any) -> Mapping[str, Any]:
        first = b.sinh(x=b.conv(x=x, weight=ones(4, 8, 1, 1)))
        return {"y": b.sinh(x=b.conv(x=first, weight=ones(8, 4, 1, 40), pad_type="same"))}

    found = judged(family)
    assert [each.finding.verdict.value for each in found.operations] == [
        "eligible",
        "eligible",
        "not",
        "not",
        "not",
        "eligible",
    ]
    assert found.switches == 2
    assert found.macs(Eligibility.ELIGIBLE) == 12 * 16 * 8 * 4
    assert found.macs(Eligibility.NOT) == 12 * 16 * 8 * 4 * 40
    assert found.to_dict()["totals"]["not"] == {"operations": 3, "macs": 12 * 16 * 8 * 4 * 40}


def test_lengths_and_blocks(judged: Judge) -> None:
    def family(b: Any, x: Any) -> Mapping[str, Any]:
        long = b.exp(x=b.tile(x=b.reshape(x=x, shape=[1, 1, 1, 1536]), reps=[1, 1, 1, 48]))
        middle = b.tanh(x=b.tile(x=b.reshape(x=x, shape=[1, 1, 1, 1536]), reps=[1, 1, 1, 12]))
        _, looped = b.while_loop(
            _cond=lambda count, _: b.less(x=count, y=np.int32(3)),
            _body=lambda count, value: (b.add(x=count, y=np.int32(1)), b.square(x=value)),
            loop_vars=(np.int32(0), x),
        )
        return {"long": long, "middle": middle, "looped": looped}

    found = judged(family)
    assert reasons(found, "exp") == [(Eligibility.NOT, "an axis of 73,728; 65,536 at most")]
    assert reasons(found, "tanh") == [
        (Eligibility.UNKNOWN, "an axis of 18,432; 16,384 at most before the A16 family"),
    ]  # fmt: skip
    assert reasons(found, "square") == [(Eligibility.NOT, "stands inside a while_loop")]
    inner = [each.type for each in found.operations if each.depth]
    assert inner == ["less", "add", "cast", "square", "cast"]


def by_hand(type_: str, given: Mapping[str, Value], parameters: Mapping[str, Any], constants: set[str]) -> list[str]:
    """The sources of all rules that speak against one operation on these values."""
    values = {value.name: value for value in given.values()}
    result = Value("y", (1, 4, 8, 8), "float16")
    operation = Operation(type_, {key: (value.name,) for key, value in given.items()}, parameters, (result,), ())
    block = Block((), (operation,), ("y",))
    program = Program("CoreML7", (), (), block, values, {name: Constant(2, False) for name in constants})
    return [table().sources[source] for _, _, source in hits(operation, (), program)]


def test_rules_on_values_by_hand() -> None:
    x, open_x = Value("x", (1, 4, 8, 8), "float16"), Value("x", (1, 4, None, 8), "float16")
    sources = table().sources
    assert by_hand("relu", {"x": x}, {}, set()) == []
    assert by_hand("relu", {"x": open_x}, {}, set()) == [sources["flexible"]]
    weight = Value("w", (4, 4, 3, 3), "float16")
    assert by_hand("conv", {"x": x, "weight": weight}, {}, {"w"}) == []
    assert by_hand("conv", {"x": x, "weight": weight}, {}, set()) == [sources["capabilities"]]
    cube = Value("w", (4, 4, 3, 3, 3), "float16")
    assert by_hand("conv", {"x": x, "weight": cube}, {}, {"w"}) == [sources["guide"]]
    fixed = {"begin": (0, 0, 0, 0), "end": (1, 4, 8, 8)}
    assert by_hand("slice_by_index", {"x": x}, fixed, set()) == []
    assert by_hand("slice_by_index", {"x": x}, {"end": (1, 4, 8, 8)}, set()) == [sources["catalogue"]]
    assert by_hand("max_pool", {"x": x}, {"kernel_sizes": (1, 40)}, set()) == [sources["catalogue"]]


def test_memory_by_hand(judged: Judge) -> None:
    """x and y stay, so sqrt holds x, what it reads, its result and y."""
    size = 8 * 12 * 16 * 4
    plain = judged(lambda b, x: {"y": b.sqrt(x=b.relu(x=x))}, "float32").memory
    assert (plain.activations_bytes, plain.weights_stored_bytes, plain.states_bytes) == (4 * size, 0, 0)
    assert plain.aligned_activations_bytes == 4 * size  # rows of 16 float32 are 64 bytes
    narrow = judged(lambda b, x: {"y": b.sqrt(x=b.relu(x=x))}).memory
    assert (narrow.activations_bytes, narrow.aligned_activations_bytes) == (3 * size, 4 * size)


def test_a_nested_block_holds_its_peak_on_top(judged: Judge) -> None:
    """Around: x, y and the loop's two results. Inside: its two values, the next counter, and two results."""
    size = 8 * 12 * 16 * 4

    def family(b: Any, x: Any) -> Mapping[str, Any]:
        _, looped = b.while_loop(
            _cond=lambda count, _: b.less(x=count, y=np.int32(3)),
            _body=lambda count, value: (b.add(x=count, y=np.int32(1)), b.relu(x=b.square(x=value))),
            loop_vars=(np.int32(0), x),
        )
        return {"y": looped}

    found = judged(family, "float32").memory
    assert found.activations_bytes == (3 * size + 16) + (3 * size + 2 * 16)


def test_compressed_weights_are_told_stored_and_decoded(judged: Judge) -> None:
    def family(b: Any, x: Any) -> Mapping[str, Any]:
        weight = b.constexpr_affine_dequantize(
            quantized_data=np.arange(-64, 64, dtype=np.int8).reshape(16, 8, 1, 1),
            zero_point=np.zeros(16, np.int8), scale=ones(16), axis=np.int32(0),
        )  # fmt: skip
        return {"y": b.conv(x=x, weight=weight)}

    found = judged(family)
    assert found.memory.weights_unpacked_bytes == 16 * 8 * 2
    assert 128 + 16 + 32 <= found.memory.weights_stored_bytes <= 128 + 16 + 64 + 4
    lines = {line.resource: line for line in _fit(found, ram_share=100).lines}
    assert lines["RAM, decoded"].verdict is Verdict.FITS
    assert lines["Neural Engine"].reason.startswith("100.0 % of the MACs eligible (3 of 3 operations), 0 hand-overs")
    assert {line.resource: line for line in _fit(found, ram_share=0.5).lines}["RAM, decoded"].verdict is Verdict.TIGHT


def _fit(found: Lint, ram_share: float) -> Fit:
    watch = device("apple-watch-s9")
    ram = Figure(found.memory.unpacked_bytes * ram_share, "assumed", "a guess")
    empty = Model(Format.COREML, Precision.INT8, (), {}, (), (), Contract((), ()), 1000, {})
    return fit(empty, replace(watch, ram_bytes=ram), neural_engine=found)


def test_a_network_agrees_with_the_neutral_table(clean_models: Mapping[str, Path], tmp_path: Path) -> None:
    package = tmp_path / "net.mlpackage"
    coreml_float16(artifact_at(clean_models["watch_cnn"]), package, Job(), CoremlOptions())
    found, model = lint(package), read(package)
    assert found.macs() == model.macs == 368336
    assert found.memory.weights_stored_bytes == found.memory.weights_unpacked_bytes == model.parameter_bytes
    assert found.memory.activations_bytes == activation_peak_bytes(model)
    assert all(each.finding.verdict is Eligibility.ELIGIBLE for each in found.operations)
    assert "4 of 4 convolutions and products are not on 4 axes" in found.notes[1][0]
    program = read_program(package)
    assert [value.name for value in program.inputs] == ["input"] and program.opset == "CoreML7"


def test_a_damaged_package_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.mlpackage").mkdir()
    with pytest.raises(BadModel, match="no readable Manifest"):
        lint(tmp_path / "x.mlpackage")
