"""Odd data and odd models: a clear error, or an int8 truth that onnxruntime and LiteRT answer alike, near the float."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx.parser
import pytest
from numpy.typing import NDArray

from edgewright.api.convert import convert
from edgewright.data import Samples
from edgewright.devices.spec import Precision
from edgewright.errors import BadData, BadInput, BadModel, Diverged, Error
from edgewright.export.onnx.file import contract_of, load_onnx, save_model
from edgewright.export.onnx.foreign import import_onnx
from edgewright.export.onnx.quantize.options import QuantizeOptions
from edgewright.export.onnx.quantize.quantized import answers
from edgewright.export.onnx.quantize.step import quantize
from edgewright.export.onnx.quantize.truth import make_truth
from edgewright.export.steps import Job, Notes
from edgewright.export.tflite.convert import TfliteInt8Options, tflite_int8
from edgewright.export.verify import snr_db
from edgewright.runtimes.artifact import artifact_at
from edgewright.runtimes.contract import Contract
from edgewright.runtimes.runtime import run_samples, runtimes

Arrays = Mapping[str, NDArray[Any]]
IMAGE = "(float[1,3,6,6] x) => (float[1,4,4,4] y)"


def draw(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


WEIGHT, BIAS = draw(4, 3, 3, 3, seed=1), draw(4, seed=2)


@dataclass(frozen=True)
class Road:
    """The answers of the float model, of the truth as written, and of LiteRT; contracts of first and last file."""

    real: Arrays
    truth: Arrays
    litert: Arrays
    notes: Notes
    tflite: Notes
    contracts: tuple[Contract, Contract]

    def worst_db(self) -> float:
        """The lower SNR of truth and LiteRT against float, over all outputs."""
        return min(snr_db(self.real[name], found[name]) for found in (self.truth, self.litert) for name in self.real)


def save(folder: Path, graph: str, constants: Arrays) -> Path:
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]> g {graph}')
    model.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in constants.items())
    onnx.save(model, folder / "given.onnx")
    import_onnx(folder / "given.onnx", folder / "clean.onnx")
    return folder / "clean.onnx"


def road(folder: Path, graph: str, constants: Arrays, inputs: Arrays, probes: Arrays | None = None) -> Road:
    """Quantize with `inputs` as calibration and lower; everything answers `probes` (none: the same samples)."""
    clean, truth, tflite = save(folder, graph, constants), folder / "int8.onnx", folder / "int8.tflite"
    job = Job(calibration=Samples(inputs))
    notes = quantize(artifact_at(clean), truth, job, QuantizeOptions("minmax", equalize=False, correct_bias=False))
    lowered = tflite_int8(artifact_at(truth, Precision.INT8), tflite, Job(), TfliteInt8Options())
    before, after = (contract_of(load_onnx(path)) for path in (clean, truth))
    samples = Samples(probes or inputs)
    names = [info.name for info in before.outputs]
    session = runtimes()["litert"].load(artifact_at(tflite, Precision.INT8))
    return Road(
        dict(zip(names, answers(load_onnx(clean), before, samples), strict=True)),
        dict(zip(names, answers(load_onnx(truth), after, samples), strict=True)),
        run_samples(session, samples.inputs),
        notes,
        lowered,
        (before, session.contract),
    )


def conv(
    folder: Path, weight: Any = WEIGHT, bias: Any = BIAS, body: str = "y = Conv(x, w, b)", gain: float = 1
) -> Road:
    x = np.float32(gain) * draw(24, 3, 6, 6)
    return road(folder, f"{IMAGE} {{ {body} }}", {"w": np.float32(weight), "b": np.float32(bias)}, {"x": x})


@pytest.mark.parametrize(("value", "problem"), [(np.nan, "NaN or infinity"), (np.inf, "NaN or infinity")])
def test_calibration_data_that_are_not_finite(tmp_path: Path, value: float, problem: str) -> None:
    x = draw(8, 3, 6, 6)
    x[3, 0, 0, 0] = value
    with pytest.raises(BadData, match=problem):
        road(tmp_path, f"{IMAGE} {{ y = Conv(x, w, b) }}", {"w": WEIGHT, "b": BIAS}, {"x": x})
    assert not (tmp_path / "int8.onnx").exists()


def test_no_calibration_data(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="int8 needs DATA to calibrate on"):
        road(tmp_path, f"{IMAGE} {{ y = Conv(x, w, b) }}", {"w": WEIGHT, "b": BIAS}, {"x": draw(0, 3, 6, 6)})


def test_values_that_overflow_inside(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="computes NaN or infinity in"):
        conv(tmp_path, body="e = Mul(x, x) s = Mul(e, e) t = Mul(s, s) y = Conv(t, w, b)", gain=1e10)


@pytest.mark.parametrize("value", [0.0, 2.5, -3.0])
def test_a_constant_activation(tmp_path: Path, value: float) -> None:
    bias = np.full(4, value)
    found = conv(tmp_path, 0 * WEIGHT, bias, "c = Conv(x, w, b) y = Neg(c)")
    assert np.array_equal(found.real["y"], np.full((24, 4, 4, 4), -value))
    np.testing.assert_allclose(found.truth["y"], -value, atol=1e-2 * abs(value))
    np.testing.assert_allclose(found.litert["y"], -value, atol=1e-2 * abs(value))


@pytest.mark.parametrize("value", [0.0, 1.5, -1.5])
def test_a_constant_input(tmp_path: Path, value: float) -> None:
    x = np.full((4, 3, 6, 6), value, np.float32)
    found = road(tmp_path, f"{IMAGE} {{ y = Conv(x, w, b) }}", {"w": WEIGHT, "b": BIAS}, {"x": x})
    assert found.worst_db() > 30


def test_a_dead_channel_and_a_dead_layer(tmp_path: Path) -> None:
    dead = WEIGHT.copy()
    dead[2] = 0
    found = conv(tmp_path, dead, [0.5, -0.5, 0, 1], "c = Conv(x, w, b) y = Relu(c)")
    assert found.worst_db() > 30
    assert not found.litert["y"][:, 2].any()
    nothing = conv(tmp_path, 0 * WEIGHT, 0 * BIAS)
    assert not nothing.truth["y"].any()
    assert not nothing.litert["y"].any()


@pytest.mark.parametrize("size", [1e-12, 1e12, 1e30])
def test_weights_and_activations_of_any_size(tmp_path: Path, size: float) -> None:
    assert conv(tmp_path, size * WEIGHT, size * BIAS).worst_db() > 30
    assert conv(tmp_path, WEIGHT, size * BIAS, gain=size).worst_db() > 30


def test_below_the_smallest_scale_all_is_zero_and_the_verdict_says_so(tmp_path: Path) -> None:
    assert not conv(tmp_path, 1e-30 * WEIGHT, 1e-30 * BIAS).truth["y"].any()
    np.savez(tmp_path / "data.npz", x=draw(32, 3, 6, 6))
    with pytest.raises(Diverged, match=r"onnx:int8 against onnx:float32: SNR 0.0 dB .* first bad tensor 'y'"):
        convert(
            str(tmp_path / "given.onnx"), tmp_path / "y.onnx", precision="int8", data=str(tmp_path / "data.npz"),
            store=tmp_path / "store",
        )  # fmt: skip
    assert not (tmp_path / "y.onnx").exists()


def test_a_bias_far_larger_than_the_weights(tmp_path: Path) -> None:
    assert conv(tmp_path, 1e-6 * WEIGHT, 1e6 * BIAS).worst_db() > 40


def test_one_sample(tmp_path: Path) -> None:
    x = draw(1, 3, 6, 6)
    found = road(tmp_path, f"{IMAGE} {{ y = Conv(x, w, b) }}", {"w": WEIGHT, "b": BIAS}, {"x": x})
    assert found.notes["calibration_samples"] == 1
    assert found.worst_db() > 30


WIDE = "(float[1,3,6,6] x) => (float[1,3,6,6] y)"
SQUARE, SHIFT = draw(3, 3, 1, 1, seed=1), draw(3, seed=2)
BOUNDS = {"low": np.float32(-0.7), "high": np.float32(1.3)}


@pytest.mark.parametrize(
    ("graph", "kernels"),
    [
        (f"{WIDE} {{ c = Conv(x, w, b) d = Conv(c, w, b) y = Add(c, d) }}", {"CONV_2D": 2, "ADD": 1}),
        (f"{WIDE} {{ c = Conv(x, w, b) y = Mul(c, c) }}", {"CONV_2D": 1, "MUL": 1}),
        (f"{WIDE} {{ c = Conv(x, w, b) y = Add(c, c) }}", {"CONV_2D": 1, "ADD": 1}),
        (
            "(float[1,3,6,6] x, float[1,3,6,6] z) => (float[1,3,6,6] late, float[1,3,6,6] early)"
            " { early = Conv(x, w, b) late = Sub(early, z) }",
            {"CONV_2D": 1, "SUB": 1},
        ),
        (
            "(float[1,3,6,6] x) => (float[1,3,6,6] y, float[1,3,6,6] same) { y = Conv(x, w, b) same = Identity(x) }",
            {"CONV_2D": 1},
        ),
        (f"{WIDE} {{ c = Conv(x, w, b) k = Clip(c, low, high) y = Conv(k, w, b) }}", {"CONV_2D": 2}),
        (
            f"{WIDE} {{ c = Conv(x, w, b) p, q = Split <axis = 2, num_outputs = 2> (c)"
            " s = Concat <axis = 2> (q, p) y = Conv(s, w, b) }",
            {"CONV_2D": 2, "SLICE": 2, "CONCATENATION": 1},
        ),
    ],
    ids=["shared weight", "square", "twice", "two of each", "passes straight", "odd bounds", "split"],
)
def test_odd_graphs_run_in_int8_with_the_same_ends(tmp_path: Path, graph: str, kernels: dict[str, int]) -> None:
    names = ["x", "z"] if "float[1,3,6,6] z" in graph else ["x"]
    inputs = {name: draw(24, 3, 6, 6, seed=seed) for seed, name in enumerate(names)}
    constants = {"w": SQUARE, "b": SHIFT, **({k: np.array(v) for k, v in BOUNDS.items()} if "Clip" in graph else {})}
    found = road(tmp_path, graph, constants, inputs)
    assert found.worst_db() > 28
    assert {name: count for name, count in found.tflite["ops"].items() if name in kernels} == kernels
    assert found.notes["float_ops"] == []
    assert found.tflite["float_ops"] == []
    before, after = found.contracts
    assert [i.name for i in before.inputs] == [i.name for i in after.inputs] == names
    assert [i.name for i in before.outputs] == [i.name for i in after.outputs] == list(found.real)


def test_odd_bounds_clamp_in_int8(tmp_path: Path) -> None:
    graph = f"{WIDE} {{ c = Conv(x, w, b) y = Clip(c, low, high) }}"
    constants = {"w": SQUARE, "b": SHIFT, **{k: np.array(v) for k, v in BOUNDS.items()}}
    found = road(tmp_path, graph, constants, {"x": draw(24, 3, 6, 6)})
    step = 2.0 / 255
    for answer in (found.truth["y"], found.litert["y"]):
        assert (answer.min(), answer.max()) == pytest.approx((-0.7, 1.3), abs=step)
    assert np.abs(found.truth["y"] - found.litert["y"]).max() <= 1.01 * step


def test_what_an_odd_clip_cuts_takes_no_codes(tmp_path: Path) -> None:
    """A channel far beyond the bounds: with a grid of its own the convolution would leave few codes to the others."""
    graph = f"{WIDE} {{ c = Conv(x, w, b) k = Clip(c, low, high) y = Conv(k, w, b) }}"
    constants = {"w": SQUARE, "b": np.float32([0, -300, 0]), **{k: np.array(v) for k, v in BOUNDS.items()}}
    found = road(tmp_path, graph, constants, {"x": draw(24, 3, 6, 6)})
    assert found.worst_db() > 35
    assert set(found.tflite["ops"]) == {"CONV_2D", "QUANTIZE", "DEQUANTIZE", "TRANSPOSE"}


def test_a_grid_is_no_finer_than_the_input_of_its_operator_can_tell(tmp_path: Path) -> None:
    """A mean near zero of large values, and a HardSwish of large negative ones: kernels refuse such ratios."""
    x = 1000 * draw(24, 3, 6, 6)
    x -= x.mean(axis=(2, 3), keepdims=True)
    pooled = road(tmp_path, "(float[1,3,6,6] x) => (float[1,3,1,1] y) { y = GlobalAveragePool(x) }", {}, {"x": x})
    step = (x.max() - x.min()) / 255
    for answer in (pooled.truth["y"], pooled.litert["y"]):
        assert np.abs(answer).max() < step
    gain = np.float32(40000) * SQUARE
    graph = f"{WIDE} {{ c = Conv(x, w, b) y = Clip(c, low, high) }}"
    bounds = {k: np.array(v) for k, v in BOUNDS.items()}
    clipped = road(tmp_path, graph, {"w": gain, "b": SHIFT, **bounds}, {"x": draw(24, 3, 6, 6)})
    assert np.abs(clipped.truth["y"] - clipped.litert["y"]).max() < 0.1
    swish = road(tmp_path, f"{WIDE} {{ y = HardSwish(x) }}", {}, {"x": -np.abs(x) - 4})
    assert np.abs(swish.litert["y"]).max() < step


def test_heavy_operators_in_float_are_no_int8(tmp_path: Path) -> None:
    graph = "(float[1,3,6,6] x, float[3,3,1,1] k) => (float[1,3,6,6] y) { c = Conv(x, w, b) y = Conv(c, k) }"
    inputs = {"x": draw(4, 1, 3, 6, 6), "k": draw(4, 3, 3, 1, 1)}
    with pytest.raises(BadModel, match=r"heavy operators of this model would run in float.*\n.*its weight is computed"):
        road(tmp_path, graph, {"w": SQUARE, "b": SHIFT}, inputs)
    assert not (tmp_path / "int8.onnx").exists()


def test_a_truth_with_a_heavy_operator_in_float_is_no_int8_tflite(tmp_path: Path) -> None:
    graph = f"{WIDE} {{ c = Conv(x, w, b) d = Relu(c) y = Conv(d, w, b) }}"
    model = load_onnx(save(tmp_path, graph, {"w": SQUARE, "b": SHIFT}))
    first, options = next(iter(model.graph)), QuantizeOptions("minmax", equalize=False, correct_bias=False)
    job = Job(calibration=Samples({"x": draw(8, 3, 6, 6)}))
    truth = make_truth(model, contract_of(model), job, options, "m", {str(first.name): "asked for"})
    save_model(truth.quantized.model, contract_of(model), tmp_path / "part.onnx")
    with pytest.raises(Error, match=rf"as int8, heavy operators of it would run in float: {first.name} \(Conv\)"):
        tflite_int8(artifact_at(tmp_path / "part.onnx"), tmp_path / "part.tflite", Job(), TfliteInt8Options())
    assert not (tmp_path / "part.tflite").exists()


def test_quantizing_keeps_the_ends_of_every_network(
    clean_models: Mapping[str, Path], int8_models: Mapping[str, Path]
) -> None:
    for name in ("watch_cnn", "student_net"):
        before, after = (load_onnx(models[name]).graph for models in (clean_models, int8_models))
        for ends in ("inputs", "outputs"):
            assert [v.name for v in getattr(before, ends)] == [v.name for v in getattr(after, ends)]
            assert [v.shape for v in getattr(before, ends)] == [v.shape for v in getattr(after, ends)]
