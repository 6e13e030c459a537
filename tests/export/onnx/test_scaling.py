"""Normalization joins the weights, Splits become Slices: same answers, fewer operators, and bytes that stay codes."""

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnx.reference
import onnx_ir as ir
import pytest

from edgewright.data import Samples
from edgewright.devices.spec import Precision
from edgewright.export.onnx.passes.scaling import fold_scaling
from edgewright.export.onnx.passes.shapes import infer_shapes
from edgewright.export.onnx.passes.splits import slice_splits
from edgewright.export.onnx.quantize.options import QuantizeOptions
from edgewright.export.onnx.quantize.step import quantize
from edgewright.export.onnx.simplify import simplify
from edgewright.export.steps import Job
from edgewright.export.tflite.convert import TfliteInt8Options, tflite_int8
from edgewright.runtimes.artifact import artifact_at
from edgewright.runtimes.runtime import run_samples, runtimes
from edgewright.runtimes.tflite_view import open_tflite

RANDOM = np.random.default_rng(0)
CONSTANTS = {
    "w": RANDOM.normal(size=(4, 3, 3, 3)).astype(np.float32),
    "deep": RANDOM.normal(size=(3, 1, 3, 3)).astype(np.float32),
    "rows": RANDOM.normal(size=(4, 3)).astype(np.float32),
    "b": RANDOM.normal(size=4).astype(np.float32),
    "f": np.array([0.5, 0.7, 1.5], np.float32).reshape(1, 3, 1, 1),
    "o": np.array([-0.5, 0.1, 0.4], np.float32).reshape(1, 3, 1, 1),
    "far": np.array([0.1, 1.0, 2.0], np.float32).reshape(1, 3, 1, 1),
    "half": np.array(0.5, np.float32),
    "f2": np.array([[0.5, 0.7, 1.5]], np.float32),
    "step": np.array(1 / 128, np.float32),
    "minus_1": np.array(-0.9921875, np.float32),
    "fraction": np.array(-0.43, np.float32),
}


def model_of(graph: str) -> ir.Model:
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]> g {graph}')
    used = {name for node in proto.graph.node for name in node.input}
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(a, n) for n, a in CONSTANTS.items() if n in used)
    model = ir.from_proto(proto)
    infer_shapes(model)
    return model


def answer(model: ir.Model) -> list[np.ndarray]:  # type: ignore[type-arg]
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    feeds = {}
    for value in proto.graph.input:
        shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        feeds[value.name] = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    given: list[np.ndarray] = onnx.reference.ReferenceEvaluator(proto).run(None, feeds)  # type: ignore[type-arg]
    return given


IMAGE = "(float[1,3,6,6] x) => (float[1,4,n,n] y)"
PADDED = "<pads = [1, 1, 1, 1]>"


@pytest.mark.parametrize(
    ("body", "size", "wanted"),
    [
        ("{ s = Mul(x, f) y = Conv(s, w, b) }", 4, ["Conv"]),
        ("{ s = Mul(f, x) t = Add(o, s) y = Conv(t, w) }", 4, ["Conv"]),
        ("{ s = Sub(x, o) t = Div(s, f) y = Conv(t, w, b) }", 4, ["Conv"]),
        (f"{{ s = Mul(x, f) y = Conv {PADDED} (s, w, b) }}", 6, ["Conv"]),
        (f"{{ s = Mul(x, f) t = Add(s, o) y = Conv {PADDED} (t, w, b) }}", 6, ["Add", "Conv"]),
        (f"{{ t = Add(x, half) y = Conv {PADDED} (t, w, b) }}", 6, ["Add", "Conv"]),
        ("{ s = Mul(x, far) y = Conv(s, w, b) }", 4, ["Mul", "Conv"]),
        ("{ s = Mul(x, f) c = Conv(s, w, b) m = ReduceMax(s) y = Add(c, m) }", 4, ["Mul", "Conv", "ReduceMax", "Add"]),
        ("{ s = Sub(half, x) y = Conv(s, w, b) }", 4, ["Sub", "Conv"]),
    ],
)
def test_convolutions(body: str, size: int, wanted: list[str]) -> None:
    model = model_of(f"{IMAGE.replace('n', str(size))} {body}")
    before = answer(model)
    changed = fold_scaling(model)
    assert [node.op_type for node in model.graph] == wanted
    assert changed == (0 if len(wanted) == body.count("=") - body.count("pads") else 1)
    np.testing.assert_allclose(answer(model)[0], before[0], atol=1e-5)


def test_depthwise_and_linear_layers() -> None:
    for graph in (
        "(float[1,3,6,6] x) => (float[1,3,4,4] y) { s = Mul(x, f) t = Add(s, o) y = Conv <group = 3> (t, deep) }",
        "(float[2,3] x) => (float[2,4] y) { s = Mul(x, f2) t = Sub(s, half) y = Gemm <transB = 1> (t, rows, b) }",
    ):
        model = model_of(graph)
        before = answer(model)
        assert fold_scaling(model) == 1
        assert len(model.graph) == 1
        np.testing.assert_allclose(answer(model)[0], before[0], atol=1e-5)


@pytest.mark.parametrize("ends", ["float[1,2,6] a, float[1,1,6] b", "float[1,2,6] a"])
def test_a_split_is_its_slices(ends: str) -> None:
    model = model_of(f"(float[1,3,6] x) => ({ends}) {{ a, b = Split <axis = -2, num_outputs = 2> (x) }}")
    before = answer(model)
    assert slice_splits(model) == 1
    assert [node.op_type for node in model.graph] == ["Slice"] * len(before)
    for a, b in zip(before, answer(model), strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize(
    ("offset", "zero_point", "ops"),
    [("minus_1", 127, {"QUANTIZE": 1, "CONV_2D": 1}), ("fraction", 0, {"QUANTIZE": 1, "ADD": 1, "CONV_2D": 1})],
)
def test_raw_bytes_enter_as_codes(tmp_path: Path, offset: str, zero_point: int, ops: dict[str, int]) -> None:
    """raw / 128 - 127 / 128 in front of a padded convolution: raw - 127 is a code; with another mean a sum is left."""
    body = f"c = Cast <to = 1> (x) s = Mul(c, step) t = Add(s, {offset}) y = Conv {PADDED} (t, w, b)"
    model, _ = simplify(model_of(f"(uint8[1,3,6,6] x) => (float[1,4,6,6] y) {{ {body} }}"))
    ir.save(model, tmp_path / "clean.onnx")
    truth, tflite = tmp_path / "int8.onnx", tmp_path / "int8.tflite"
    raw = {"x": np.random.default_rng(2).integers(0, 256, (24, 3, 6, 6)).astype(np.uint8)}
    options = QuantizeOptions("minmax", equalize=False, correct_bias=False)
    quantize(artifact_at(tmp_path / "clean.onnx"), truth, Job(calibration=Samples(raw)), options)
    made = tflite_int8(artifact_at(truth, Precision.INT8), tflite, Job(), TfliteInt8Options())["ops"]
    assert {name: count for name, count in made.items() if name in ("QUANTIZE", "ADD", "MUL", "CONV_2D")} == ops
    view = open_tflite(tflite)
    entered = view.main.tensors[view.inputs["x"]]
    assert (entered.dtype, entered.scale, entered.zero_point) == ("uint8", (1.0,), (zero_point,))
    given = [
        run_samples(runtimes()[name].load(artifact_at(path, Precision.INT8)), raw)["y"]
        for name, path in (("onnxruntime", truth), ("litert", tflite), ("tflite-micro", tflite))
    ]
    step = np.ptp(given[0]) / 255
    assert max(np.abs(found - given[0]).max() for found in given[1:]) <= 1.1 * step
