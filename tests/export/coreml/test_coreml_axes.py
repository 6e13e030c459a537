"""Tensors of more than five axes between inputs and outputs that have fewer: held flat, seen with axes merged."""

from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper, parser

from edgewright.errors import UnsupportedOps
from edgewright.export.coreml.axes import MAX_RANK, held_shape, merged, turns
from edgewright.export.coreml.convert import convert
from edgewright.export.coreml.options import CoremlOptions
from edgewright.runtimes.mil.session import MilSession
from tests.export.coreml.packages import op_types, operations

Arrays = dict[str, NDArray[Any]]


@pytest.mark.parametrize("shape", [(2, 3, 1, 2, 3, 2), (1, 2, 1, 3, 1, 2), (2, 1, 2, 1, 2, 1)])
def test_every_order_of_six_axes(shape: tuple[int, ...]) -> None:
    x = np.arange(np.prod(shape)).reshape(shape)
    for perm in permutations(range(6)):
        y = x
        for view, order in turns(shape, perm):
            assert len(view) <= MAX_RANK
            y = y.reshape(view).transpose(order)
        assert np.array_equal(y.ravel(), x.transpose(perm).ravel())


def test_neighbours_stay_one_axis() -> None:
    assert turns((2, 8, 7, 8, 7, 96), (0, 1, 3, 2, 4, 5)) == [([16, 7, 8, 672], [0, 2, 1, 3])]
    assert turns((1, 4, 2, 2, 5, 5), (0, 1, 4, 2, 5, 3)) == [([4, 2, 2, 5, 5], [0, 3, 1, 4, 2])]
    assert turns((2, 1, 3, 4, 5, 6), (0, 2, 1, 3, 4, 5)) == []


def test_axes_of_broadcast_operands_merge() -> None:
    assert merged([(2, 3, 4, 5, 6, 7), (1, 1, 1, 5, 6, 7)]) == [[24, 210], [1, 210]]
    assert merged([(2, 3, 1, 5), (7, 2, 1, 4, 1)]) == [[1, 2, 3, 1, 5], [7, 2, 1, 4, 1]]
    assert merged([(1, 1), (1,)]) == [[1], [1]]
    assert held_shape((2, 3)) == [2, 3]
    assert held_shape((2, 3, 1, 1, 1, 1)) == [6]


def converted(folder: Path, graph: str, constants: Arrays, compute: type[np.floating[Any]] = np.float32) -> Path:
    model = parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]> {graph}')
    for number, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}_{number}"
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    onnx.save(onnx.shape_inference.infer_shapes(model, strict_mode=True), folder / "m.onnx")
    convert(folder / "m.onnx", folder / "m.mlpackage", CoremlOptions(), compute)
    return folder / "m.mlpackage"


def compared(folder: Path, graph: str, constants: Arrays, x: NDArray[Any]) -> Path:
    package = converted(folder, graph, constants)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    [theirs] = ort.InferenceSession(str(folder / "m.onnx"), options).run(None, {"x": x})
    ours = MilSession(package, arithmetic="float32").run({"x": x})["y"]
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)
    return package


def image(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def test_windows_are_cut_and_put_together(tmp_path: Path) -> None:
    """As in Swin transformers: each way is one transposition of four axes."""
    graph = """g (float[2,8,12,6] x) => (float[2,8,12,6] y) {
        a = Reshape (x, six)
        b = Transpose <perm = [0, 1, 3, 2, 4, 5]> (a)
        c = Reshape (b, windows)
        d = Relu (c)
        e = Reshape (d, back)
        f = Transpose <perm = [0, 1, 3, 2, 4, 5]> (e)
        y = Reshape (f, whole)
    }"""
    shapes = {"six": (2, 2, 4, 3, 4, 6), "windows": (-1, 16, 6), "back": (2, 2, 3, 4, 4, 6), "whole": (2, 8, 12, 6)}
    package = compared(tmp_path, graph, {k: np.array(v) for k, v in shapes.items()}, image(2, 8, 12, 6))
    turned = [op for op in operations(package) if op.type == "transpose"]
    assert len(turned) == 2
    assert all(len(op.outputs[0].type.tensorType.dimensions) == 4 for op in turned)


def test_heads_are_gathered_normalized_and_joined(tmp_path: Path) -> None:
    graph = """g (float[2,3,4,30] x) => (float[2,3,4,5,4] y) {
        a = Reshape (x, split)
        b = Transpose <perm = [4, 0, 3, 1, 2, 5]> (a)
        s = Add (b, bias)
        t = Softmax <axis = -2> (s)
        u = Clip (t, low)
        v = Concat <axis = 5> (u, s)
        w = Where (mask, v, low)
        q = Gather <axis = 0> (w, last)
        y = Transpose <perm = [0, 2, 3, 1, 4]> (q)
    }"""
    constants = {
        "split": np.array((2, 3, 4, 5, 3, 2)),
        "bias": image(1, 2, 5, 1, 1, 2),
        "low": np.array(0.1, np.float32),
        "last": np.array(-1),
        "mask": image(3, 1, 1, 1, 1, 4) > 0,
    }
    compared(tmp_path, graph, constants, image(2, 3, 4, 30))


def test_codes_of_six_axes_stay_codes(tmp_path: Path) -> None:
    graph = """g (float[2,2,4,6] x) => (float[8,12] y) {
        q = QuantizeLinear (x, scale, zero)
        r = Reshape (q, six)
        t = Transpose <perm = [0, 3, 1, 5, 2, 4]> (r)
        d = DequantizeLinear (t, scale, zero)
        y = Reshape (d, flat)
    }"""
    constants = {
        "scale": np.array(0.02, np.float32),
        "zero": np.array(3, np.int8),
        "six": np.array((2, 2, 2, 2, 2, 3)),
        "flat": np.array((8, 12)),
    }
    package = compared(tmp_path, graph, constants, image(2, 2, 4, 6))
    kinds = [kind for kind in op_types(package) if kind != "reshape"]
    assert kinds == ["quantize", *["transpose"] * (len(kinds) - 2), "dequantize"]


def test_parts_and_reductions(tmp_path: Path) -> None:
    """Blocks of 2 × 2 are averaged; three parts of an axis of three are split off."""
    graph = """g (float[2,3,8,10] x) => (float[2,4,5] y) {
        a = Reshape (x, blocks)
        p, q, r = Split <axis = 1, num_outputs = 3> (a)
        s = Max (p, q, r)
        m = ReduceMean <keepdims = 1> (s, axes)
        t = Squeeze (m, axes)
        y = Squeeze (t, first)
    }"""
    constants = {"blocks": np.array((2, 3, 4, 2, 5, 2)), "axes": np.array((-1, 3)), "first": np.array([1])}
    compared(tmp_path, graph, constants, image(2, 3, 8, 10))


def test_what_does_not_merge_is_refused(tmp_path: Path) -> None:
    graph = """g (float[2,3,4,30] x) => (float[2,3,4,30] y) {
        a = Reshape (x, split)
        b = ReduceMean <keepdims = 1> (a, axes)
        c = CumSum (b, last)
        d = Sub (a, c)
        e = Mul (d, checks)
        y = Reshape (e, whole)
    }"""
    constants = {
        "split": np.array((2, 3, 4, 5, 3, 2)),
        "axes": np.array((1, 3, 5)),
        "last": np.array(4),
        "checks": image(2, 1, 4, 1, 3, 1),
        "whole": np.array((2, 3, 4, 30)),
    }
    with pytest.raises(UnsupportedOps) as caught:
        converted(tmp_path, graph, constants)
    reason = "rank 6, Core ML tensors have at most 5 dimensions"
    kinds = ("ReduceMean", "CumSum", "Sub", "Mul")
    assert caught.value.missing == {kind: (reason, [f"{kind}_{n}"]) for n, kind in enumerate(kinds, 1)}


def test_six_axes_at_the_border_are_refused(tmp_path: Path) -> None:
    graph = "g (float[2,3,4,30] x) => (float[2,3,4,5,3,2] y) { y = Reshape (x, shape) }"
    with pytest.raises(UnsupportedOps) as caught:
        converted(tmp_path, graph, {"shape": np.array((2, 3, 4, 5, 3, 2))})
    assert caught.value.missing == {"Reshape": ("rank 6, Core ML tensors have at most 5 dimensions", ["Reshape_0"])}
