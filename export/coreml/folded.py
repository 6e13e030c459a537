"""Nodes with tensors of more than five axes: the rules as they are, on the same tensors with axes merged."""

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from edgewright.export.coreml.axes import MAX_RANK, around, held_shape, merged, runs, turns
from edgewright.export.coreml.builder import MilBuilder, Value, static_shape
from edgewright.export.coreml.lowerings import COREML
from edgewright.export.coreml.ops.reduction import ROWS as REDUCTIONS
from edgewright.export.lowering import attributes

if TYPE_CHECKING:
    import onnx_ir as ir

VIEWS = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")
ALONG_ONE_AXIS = ("Concat", "LogSoftmax", "Softmax")


def has_many_axes(node: "ir.Node") -> bool:
    return any(len(static_shape(value)) > MAX_RANK for value in (*node.inputs, *node.outputs) if value is not None)


def folded(b: MilBuilder, node: "ir.Node", inputs: Sequence[Value]) -> list[Value]:
    """The node's results, as they are held. Raises UnsupportedOps where its axes do not merge into five."""
    for value in (*node.inputs, *node.outputs):
        if value is not None and (value.is_graph_input() or value.is_graph_output()):
            _need_few_axes(b, static_shape(value))
    shapes = [static_shape(value) if value is not None else [] for value in node.inputs]
    after, rule = [static_shape(value) for value in node.outputs], COREML.rules()[node.op_type]
    if node.op_type in VIEWS:
        made = inputs[0]
    elif node.op_type == "Transpose":
        made = _transposed(b, inputs[0], shapes[0], node)
    elif node.op_type in ALONG_ONE_AXIS:
        axis = node.attributes.get_int("axis", -1)
        parts = [seen(b, value, around(shape, axis)) for value, shape in zip(inputs, shapes)]
        made = rule.function(b, *parts, **attributes(node) | {"axis": 1})
    elif node.op_type == "Gather" and not shapes[1]:
        axis = node.attributes.get_int("axis", 0)
        made = rule.function(b, seen(b, inputs[0], around(shapes[0], axis)), inputs[1], axis=1)
    elif node.op_type == "Split":
        axis = node.attributes.get_int("axis", 0)
        sizes = [shape[axis] for shape in after]
        made = b.mb.split(x=seen(b, inputs[0], around(shapes[0], axis)), split_sizes=sizes, axis=1)
    elif node.op_type in REDUCTIONS and len(inputs) > 1 and inputs[1] is not None:
        lengths, where = runs(shapes[0], b.integers(inputs[1], "axes"))
        _need_few_axes(b, lengths)
        made = rule.function(b, seen(b, inputs[0], lengths), np.array(where), keepdims=0)
    elif _is_elementwise(node, shapes):
        made = _elementwise(b, inputs, shapes, node)
    else:
        _need_few_axes(b, max([*shapes, *after], key=len))
    results = made if isinstance(made, list | tuple) else [made]
    return [seen(b, result, held_shape(shape)) for result, shape in zip(results, after)]


def seen(b: MilBuilder, value: Value, shape: Sequence[int]) -> Value:
    """The same elements in another shape."""
    if isinstance(value, np.ndarray):
        return value.reshape(shape)
    if list(value.shape) == list(shape):
        return value
    return b.mb.reshape(x=value, shape=list(shape)) if shape else b.mb.squeeze(x=value)


def _transposed(b: MilBuilder, x: Value, shape: Sequence[int], node: "ir.Node") -> Value:
    perm = attributes(node).get("perm") or tuple(reversed(range(len(shape))))
    for view, order in turns(shape, perm):
        x = b.mb.transpose(x=seen(b, x, view), perm=order)
    return x


def _is_elementwise(node: "ir.Node", shapes: Sequence[Sequence[int]]) -> bool:
    one_scale = node.op_type in ("QuantizeLinear", "DequantizeLinear") and not shapes[1]
    return len(node.outputs) == 1 and (one_scale or COREML.rules()[node.op_type].layout == "any")


def _elementwise(b: MilBuilder, inputs: Sequence[Value], shapes: Sequence[Sequence[int]], node: "ir.Node") -> Value:
    """Operands of one element, such as bounds, count for no axis."""
    whole = [value is not None and prod(shape) > 1 for value, shape in zip(inputs, shapes)]
    views = merged([shape for shape, is_whole in zip(shapes, whole) if is_whole] or [[1]])
    _need_few_axes(b, views[0])
    left = iter(views)
    operands = [seen(b, value, next(left)) if is_whole else _single(b, value) for value, is_whole in zip(inputs, whole)]
    return COREML.rules()[node.op_type].function(b, *operands, **attributes(node))


def _single(b: MilBuilder, value: Value) -> Value:
    return value if value is None or len(value.shape) < 2 else seen(b, value, [1])


def _need_few_axes(b: MilBuilder, shape: Sequence[int]) -> None:
    if len(shape) > MAX_RANK:
        raise b.refusal(f"rank {len(shape)}, Core ML tensors have at most {MAX_RANK} dimensions")
