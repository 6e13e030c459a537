"""The projections of attention: queries, keys and values as products of their own, the queries scaled by weights."""

from collections.abc import Collection
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from edgewright.export.onnx.graph import add_initializer, bypass, constant, make, replace, shape_of
from edgewright.export.tflite.linear import is_linear, rescale

if TYPE_CHECKING:
    import onnx_ir as ir

MOVING = ("Reshape", "Transpose", "Squeeze", "Unsqueeze")


def part_projections(graph: "ir.Graph", taken: "Collection[ir.Node]") -> None:
    """Gemm → Reshape[…, parts, …] → Transpose → Slice for each part ⇒ Gemm → Reshape → Transpose for each part; the
    nodes `taken` stay."""
    for node in list(graph):
        if node.op_type == "Transpose" and node not in taken:
            _part(graph, node, taken)


def fold_factors(graph: "ir.Graph", taken: "Collection[ir.Node]") -> None:
    """Gemm(W, c) → Reshape → MatMul → Mul(f) ⇒ Gemm(f·W, f·c) → Reshape → MatMul; the nodes `taken` stay."""
    for node in list(graph):
        factor, product = constant(node, 1), _made_for(node, "MatMul")
        if node.op_type != "Mul" or factor is None or factor.size != 1 or product is None:
            continue
        if factor.dtype != np.float32 or factor.ndim > len(shape_of(node.outputs[0]) or ()):
            continue
        gemm = next(filter(None, (_source(product, index) for index in (0, 1))), None)
        if gemm is not None and not {node, product, gemm} & set(taken) and bypass(node):
            rescale(gemm, factor.reshape(1))


def _source(product: "ir.Node", index: int) -> "ir.Node | None":
    """The linear layer whose values, only moved, are an operand."""
    node, at = product, index
    while (above := _made_for(node, *MOVING, "Gemm", index=at)) is not None and above.op_type != "Gemm":
        node, at = above, 0
    return above if above is not None and is_linear(above) else None


def _part(graph: "ir.Graph", transpose: "ir.Node", taken: "Collection[ir.Node]") -> None:
    reshape = _made_for(transpose, "Reshape")
    gemm = None if reshape is None else _made_for(reshape, "Gemm")
    shape, order = shape_of(transpose.inputs[0]), transpose.attributes.get_ints("perm", ())
    if reshape is None or gemm is None or gemm in taken or not is_linear(gemm) or shape is None or not order:
        return
    weight, bias, by_row = constant(gemm, 1), constant(gemm, 2), gemm.attributes.get_int("transB", 0)
    assert weight is not None
    assert bias is not None
    width = (shape_of(gemm.outputs[0]) or (0,))[-1]
    axes = [axis for axis in range(1, len(shape)) if shape[axis] > 1 and prod(shape[axis:]) == width]
    cuts = [use.node for use in transpose.outputs[0].uses()]
    places = [_place(cut, order.index(axes[0])) for cut in cuts] if axes else []
    if not places or None in places or bias.shape != (width,) or transpose.outputs[0].is_graph_output():
        return
    parts = shape[axes[0]]
    rows, biases = np.split(weight if by_row else weight.T, parts), np.split(bias, parts)
    narrow = [n for axis, n in enumerate(shape) if axis != axes[0]]
    perm = [axis - (axis > axes[0]) for axis in order if axis != axes[0]]
    for cut, place in zip(cuts, places):
        assert place is not None
        weights = [add_initializer(graph, f"{cut.name}/{kind[0].ndim}", kind[place]) for kind in (rows, biases)]
        product = make("Gemm", [gemm.inputs[0], *weights], {"transB": 1}, name=f"{cut.name}/product")
        _describe(product, [*(shape_of(gemm.outputs[0]) or ())[:-1], width // parts])
        split = _reshaped(graph, product, narrow)
        moved = make("Transpose", split.outputs, {"perm": perm}, name=f"{cut.name}/transposed")
        _describe(moved, [narrow[axis] for axis in perm])
        _take_place(graph, cut, [product, split, moved])
    graph.remove([transpose, reshape, gemm], safe=True)


def _take_place(graph: "ir.Graph", cut: "ir.Node", made: "list[ir.Node]") -> None:
    """`made` in the place of `cut`, and of the one that drops its axis, if that alone reads it."""
    readers, shape = list(cut.outputs[0].uses()), shape_of(made[-1].outputs[0])
    below = readers[0].node if len(readers) == 1 and not cut.outputs[0].is_graph_output() else cut
    if below.op_type in ("Squeeze", "Reshape") and shape_of(below.outputs[0]) == shape:
        replace(below, *made)
        graph.remove(cut, safe=True)
    elif shape_of(cut.outputs[0]) == shape:
        replace(cut, *made)
    else:
        replace(cut, *made, _reshaped(graph, made[-1], shape_of(cut.outputs[0]) or ()))


def _reshaped(graph: "ir.Graph", node: "ir.Node", shape: "Collection[int]") -> "ir.Node":
    wanted = add_initializer(graph, f"{node.name}/shape", np.array(list(shape), np.int64))
    made = make("Reshape", [node.outputs[0], wanted], name=f"{node.name}/reshaped")
    return _describe(made, shape)


def _describe(node: "ir.Node", shape: "Collection[int]") -> "ir.Node":
    import onnx_ir as ir

    node.outputs[0].shape, node.outputs[0].type = ir.Shape(shape), ir.TensorType(ir.DataType.FLOAT)
    node.outputs[0].name = f"{node.name}/y"
    return node


def _made_for(node: "ir.Node", *op_types: str, index: int = 0) -> "ir.Node | None":
    """What gives an operand of `node`, to it alone."""
    value = node.inputs[index] if index < len(node.inputs) else None
    maker = None if value is None or len(value.uses()) != 1 or value.is_graph_output() else value.producer()
    return maker if maker is not None and maker.op_type in op_types else None


def _place(cut: "ir.Node", axis: int) -> int | None:
    """Which one of an axis a Slice or Gather takes out; None when it does not take one."""
    whole = shape_of(cut.inputs[0]) or ()
    first, end, along, stride = (constant(cut, place) for place in range(1, 5))
    if first is None or first.size != 1:
        return None
    start = int(first.item()) % whole[axis]
    if cut.op_type == "Gather":
        return start if cut.attributes.get_int("axis", 0) % len(whole) == axis else None
    if cut.op_type != "Slice" or end is None or along is None or along.size != 1 or stride is not None:
        return None
    stop = int(end.item()) % (whole[axis] + 1) if end.item() < 0 else min(int(end.item()), whole[axis])
    return start if along.item() % len(whole) == axis and stop - start == 1 else None
