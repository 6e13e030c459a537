"""What shapes and constants decide is decided ahead."""

import numpy as np
import onnx_ir as ir
from onnx import parser

from edgewright.export.onnx.simplify import simplify

HEAD = '<ir_version: 10, opset_import: ["": 21]>'


def left(text: str) -> list[str]:
    model, _ = simplify(ir.from_proto(parser.parse_model(f"{HEAD} {text}")))
    return [node.op_type for node in model.graph]


def test_a_chain_of_shapes_leaves_one_reshape() -> None:
    text = """g (float[2,3,4,5] x) => (float[2,6,10] y) <int64 zero = {0}, int64[1] first = {0}, int64[1] six = {6},
        int64[1] open = {-1}> {
        s = Shape(x) b = Gather(s, zero) n = Unsqueeze(b, first)
        t = Concat<axis = 0>(n, six, open) y = Reshape(x, t) }"""
    assert left(text) == ["Reshape"]


def test_an_expand_before_an_operator_that_broadcasts_goes() -> None:
    text = """g (float[1,4,1] x, float[2,4,6] z) => (float[2,4,6] y) <int64[3] s = {2,4,6}> {
        e = Expand(x, s) y = Add(z, e) }"""
    assert left(text) == ["Add"]
    needed = """g (float[1,4,1] x, float[1,4,1] z) => (float[2,4,6] y) <int64[3] s = {2,4,6}> {
        e = Expand(x, s) y = Mul(z, e) }"""
    assert left(needed) == ["Expand", "Mul"]


def test_a_constant_condition_compresses_to_a_known_shape() -> None:
    text = """g (float[3,4] x) => (float[n,4] y) <bool[3] c = {1,0,1}> { k = Compress<axis = 0>(x, c) y = Neg(k) }"""
    model, _ = simplify(ir.from_proto(parser.parse_model(f"{HEAD} {text}")))
    assert [node.op_type for node in model.graph] == ["Gather", "Neg"]
    shape = model.graph.outputs[0].shape
    assert shape is not None and np.array_equal(shape.numpy(), (2, 4))
