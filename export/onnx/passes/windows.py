"""Sliding windows say where they stand: in pads, not in a mode that each backend would have to interpret."""

from typing import TYPE_CHECKING

import numpy as np

from edgewright.export.onnx.graph import add_initializer, integers, make, nodes_of, replace, shape_of
from edgewright.export.onnx.passes.shapes import infer_shapes

if TYPE_CHECKING:
    import onnx_ir as ir

POOLS = ("AveragePool", "MaxPool")
Pads = tuple[list[int], list[int]]


def place_windows(model: "ir.Model") -> int:
    """Conv(auto_pad=SAME_UPPER) becomes Conv(pads); MaxPool(ceil_mode=1) → MaxPool(pads).

    A window that ceil_mode starts beyond the tensor and its left padding does not exist (as in torch and onnxruntime),
    although shape inference counts it: shapes after such a pool are inferred anew.
    """
    return sum(_place(model, node) for node in nodes_of(model, "Conv", *POOLS))


def _place(model: "ir.Model", node: "ir.Node") -> bool:
    import onnx_ir as ir

    ceil = node.attributes.get_int("ceil_mode", 0)
    mode = node.attributes.get_string("auto_pad", "NOTSET")
    size = shape_of(node.inputs[0])
    if size is None or not (ceil or mode != "NOTSET") or len(size) < 3:
        return False
    before, after = _pads(node, size[2:], str(mode), bool(ceil))
    declared = integers(node, "pads", (0,))
    counted = node.attributes.get_int("count_include_pad", 0) and mode == "NOTSET"
    if counted and ceil and tuple(before + after) != declared:
        _pad_first(node, declared)
        before, after = [0] * len(before), [a - d for a, d in zip(after, _ends(declared, len(before)))]
    node.attributes.add(ir.AttrInt64s("pads", before + after))
    node.attributes.pop("auto_pad", None)
    node.attributes.pop("ceil_mode", None)
    made = _outputs(node, size[2:], before, after)
    if shape_of(node.outputs[0]) not in (None, (*size[:2], *made)) or shape_of(node.outputs[0]) is None:
        _forget_shapes_after(model, node)
    return True


def _pads(node: "ir.Node", size: tuple[int, ...], mode: str, ceil: bool) -> Pads:
    """Before and after each spatial axis."""
    rank = len(size)
    declared = integers(node, "pads", (0,) * 2 * rank) if mode == "NOTSET" else (0,) * 2 * rank
    before, after = list(declared[:rank]), list(declared[rank:])
    for axis, (extent, stride) in enumerate(zip(_extents(node, rank), integers(node, "strides", (1,) * rank))):
        if mode.startswith("SAME"):
            total = max((-(-size[axis] // stride) - 1) * stride + extent - size[axis], 0)
            halves = [total // 2, total - total // 2]
            before[axis], after[axis] = halves if mode == "SAME_UPPER" else halves[::-1]
        elif ceil:
            last = -(-(size[axis] + before[axis] + after[axis] - extent) // stride) * stride
            if last < size[axis] + before[axis]:
                after[axis] = max(after[axis], last + extent - size[axis] - before[axis])
    return before, after


def _extents(node: "ir.Node", rank: int) -> list[int]:
    """How many elements a window spans."""
    kernel = integers(node, "kernel_shape", (shape_of(node.inputs[1]) or ())[2:] if node.op_type == "Conv" else ())
    return [(k - 1) * d + 1 for k, d in zip(kernel, integers(node, "dilations", (1,) * rank))]


def _outputs(node: "ir.Node", size: tuple[int, ...], before: list[int], after: list[int]) -> tuple[int, ...]:
    rank = len(size)
    windows = zip(size, before, after, _extents(node, rank), integers(node, "strides", (1,) * rank))
    return tuple((n + b + a - extent) // stride + 1 for n, b, a, extent, stride in windows)
