"""Linear layers around normalizations and heads: one FULLY_CONNECTED each, nothing beside it."""

from collections import Counter

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import parser
from onnx.reference import ReferenceEvaluator

from edgewright.export.tflite.convert import convert

from .conftest import Answer

RNG = np.random.default_rng(3)
MODEL = """
<ir_version: 10, opset_import: ["" : 21]>
g (float[1,6,8] x) => (float[1,2,6,6] y)
<int64[5] heads = {1,6,3,2,4}, int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2}, float half = {0.5}> {
  n = LayerNormalization <axis=-1> (x, s, b)
  p = MatMul (n, w)
  l = Add (p, c)
  r = Reshape (l, heads)
  t = Transpose <perm=[2,0,3,1,4]> (r)
  q5 = Slice (t, zero, one, zero)
  k5 = Slice (t, one, two, zero)
  q = Squeeze (q5, zero)
  k = Squeeze (k5, zero)
  kt = Transpose <perm=[0,1,3,2]> (k)
  m = MatMul (q, kt)
  f = Mul (m, half)
  y = Softmax (f)
}"""


def _model() -> onnx.ModelProto:
    model = parser.parse_model(MODEL)
    for name, shape in {"s": (8,), "b": (8,), "w": (8, 24), "c": (24,)}.items():
        array = RNG.standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return onnx.shape_inference.infer_shapes(model)


@pytest.mark.parametrize("runtime", ["xnnpack", "builtin", "legacy"])
def test_projections_take_in_what_is_around_them(run: Answer, runtime: str) -> None:
    """Bias, scale and shift of the normalization, and the factor of the scores; nobody reads the third part."""
    proto, x = _model(), RNG.standard_normal((1, 6, 8)).astype(np.float32)
    wanted = np.asarray(ReferenceEvaluator(proto).run(None, {"x": x})[0])
    converted = convert(ir.from_proto(proto))
    codes = Counter(op.code for op in converted.ops)
    assert (codes["FULLY_CONNECTED"], codes["BATCH_MATMUL"], codes["SLICE"]) == (2, 1, 0)
    assert (codes["MUL"], codes["ADD"]) == (2, 1)  # of the normalization: square, by 1/√; + ε
    np.testing.assert_allclose(run(converted.content, {"x": x}, runtime)["y"], wanted, rtol=1e-5, atol=1e-5)
