"""Cuts of open axes, and joint projections with something between."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import onnx.parser
import onnx_ir as ir
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edgewright.errors import BadModel
from edgewright.export.onnx.foreign import import_onnx
from edgewright.export.onnx.passes.batch import input_shapes
from edgewright.export.onnx.simplify import simplify
from edgewright.export.tflite.convert import convert

HEAD = '<ir_version: 8, opset_import: ["" : 17]> agraph '
RESOLVERS = (OpResolverType.AUTO, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)


def answer(content: bytes, resolver: OpResolverType, x: Any) -> Any:
    return Interpreter(
        model_content=content, num_threads=1, experimental_op_resolver_type=resolver
    ).get_signature_runner()(x=x)["y"]


def cut(start: int, end: int) -> str:
    return (
        f"{HEAD}(float[n,4] x) => (float[m,4] y) {{ z = Constant <value = int64[1] {{{start}}}> () "
        f"half = Constant <value = int64[1] {{{end}}}> () zero = Constant <value = int64[1] {{0}}> () "
        "e = Add(half, zero) s = Slice(x, z, e, zero) y = Relu(s) }"
    )


@pytest.mark.parametrize("bounds", [(0, 300), (300, 2**62), (-300, 2**62)])
def test_a_cut_beyond_every_trial_length_is_refused(tmp_path: Path, bounds: tuple[int, int]) -> None:
    onnx.save(onnx.parser.parse_model(cut(*bounds)), tmp_path / "m.onnx")
    with pytest.raises(BadModel, match="300 on axis 0, which was 164"):
        import_onnx(tmp_path / "m.onnx", tmp_path / "clean.onnx", input_shapes({"x": ("1?", 4)}))


@pytest.mark.parametrize("bounds", [(-30, 2**62), (-30, -5), (0, -5)])
def test_a_cut_counted_from_the_end_stops_at_the_borders(tmp_path: Path, bounds: tuple[int, int]) -> None:
    onnx.save(onnx.parser.parse_model(cut(*bounds)), tmp_path / "m.onnx")
    import_onnx(tmp_path / "m.onnx", tmp_path / "clean.onnx", input_shapes({"x": ("40?", 4)}))
    converted = convert(ir.load(tmp_path / "clean.onnx"))
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    for rows in (4, 10, 31, 310):
        x = np.random.default_rng(rows).standard_normal((rows, 4)).astype(np.float32)
        for resolver in RESOLVERS:
            assert np.array_equal(answer(converted.content, resolver, x), session.run(None, {"x": x})[0])


def test_projections_with_an_activation_stay_one() -> None:
    rng = np.random.default_rng(0)
    model = onnx.parser.parse_model(
        f"{HEAD}(float[1,5,8] x) => (float[1,2,5,4] y) {{ g = MatMul(x, w) h = Add(g, c) r = Relu(h) "
        "z = Reshape(r, p) t = Transpose <perm = [2,0,3,1,4]> (z) q = Gather(t, i0) k = Gather(t, i1) v = Gather(t, i2)"
        " kt = Transpose <perm = [0,1,3,2]> (k) s = MatMul(q, kt) a = Softmax(s) y = MatMul(a, v) }"
    )
    arrays = {
        "w": rng.standard_normal((8, 24)).astype(np.float32),
        "c": rng.standard_normal(24).astype(np.float32),
        "p": np.array([1, 5, 3, 2, 4]),
        "i0": np.array(0),
        "i1": np.array(1),
        "i2": np.array(2),
    }
    model.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in arrays.items())
    x = rng.standard_normal((1, 5, 8)).astype(np.float32)
    [wanted] = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    content = convert(simplify(ir.from_proto(model))[0]).content
    for resolver in RESOLVERS:
        assert np.abs(answer(content, resolver, x) - wanted).max() < 1e-5


def test_int8_weights_of_a_transposed_convolution_over_depth() -> None:
    """CONV_3D_TRANSPOSE has no int8 weights: they are decoded."""
    rng = np.random.default_rng(1)
    codes = rng.integers(-127, 127, (2, 3, 2, 2, 2)).astype(np.int8)
    scales = np.array([0.01, 0.02, 0.005], np.float32)
    model = onnx.parser.parse_model(
        f"{HEAD}(float[1,2,3,4,4] x) => (float[1,3,6,8,8] y) "
        "{ w = DequantizeLinear <axis = 1> (codes, scales) y = ConvTranspose <strides = [2,2,2]> (x, w) }"
    )
    for name, array in (("codes", codes), ("scales", scales)):
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    x = rng.standard_normal((1, 2, 3, 4, 4)).astype(np.float32)
    [wanted] = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    content = convert(simplify(ir.from_proto(model))[0]).content
    for resolver in RESOLVERS:
        assert np.abs(answer(content, resolver, x) - wanted).max() < 1e-5
