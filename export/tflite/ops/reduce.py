"""Reductions over axes, and sums along one."""

from collections.abc import Collection

import numpy as np

from edgewright.export.tflite.node_builder import NodeBuilder
from edgewright.export.tflite.rules import TFLITE
from edgewright.export.tflite.tensor import Tensor

REDUCTIONS = {
    "ReduceMean": "MEAN",
    "ReduceSum": "SUM",
    "ReduceMax": "REDUCE_MAX",
    "ReduceMin": "REDUCE_MIN",
    "ReduceProd": "REDUCE_PROD",
}
BOOLEAN = {"ReduceMax": "REDUCE_ANY", "ReduceMin": "REDUCE_ALL"}
OF_NOTHING = {"ReduceMean": np.nan, "ReduceSum": 0, "ReduceMax": -np.inf, "ReduceMin": np.inf, "ReduceProd": 1}


@TFLITE.lower(*REDUCTIONS, layout="axis")
def reduction(
    b: NodeBuilder, x: Tensor, axes: Tensor | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Tensor:
    chosen = [] if axes is None else b.need_constant(axes, "axes").tolist()
    if b.rank == 0 or (not chosen and noop_with_empty_axes):
        return b.reshape(x, b.y.shape)
    if 0 in x.shape:
        return _of_nothing(b, x)
    reduced = {axis % b.rank for axis in chosen} or set(range(b.rank))
    held = sorted({b.axis(axis) for axis in reduced})
    code = (BOOLEAN if x.dtype == np.bool_ else REDUCTIONS)[b.op_type]
    if keepdims:
        return b.emit(code, [x, b.integers(held, "axes")], {"keepDims": True})
    height = [1] if len(x.shape) > b.rank else []  # N×C×L held as N×1×L×C
    shape = [n for axis, n in enumerate(x.shape) if axis not in (*held, *height)]
    to = b.y if in_onnx_order(b, reduced) else b.temp("held", b.y, shape)
    b.emit(code, [x, b.integers(sorted([*held, *height]), "axes")], {"keepDims": False}, to=to)
    return to if to is b.y else as_onnx_orders(b, to, reduced)


def in_onnx_order(b: NodeBuilder, reduced: Collection[int]) -> bool:
    """Whether the axes that are left lie in ONNX's order without the reduced ones."""
    left = [b.axis(axis) for axis in range(b.rank) if axis not in reduced]
    return left == sorted(left)


def as_onnx_orders(b: NodeBuilder, held: Tensor, reduced: Collection[int]) -> Tensor:
    """`y` from a tensor of the axes that are left, in the file's order."""
    left = sorted((axis for axis in range(b.rank) if axis not in reduced), key=b.axis)
    return b.transpose(held, np.argsort(left).tolist(), b.y)


def _of_nothing(b: NodeBuilder, x: Tensor) -> Tensor:
    """Known beforehand, as are results that are empty themselves."""
    if 0 in b.y.shape:
        return b.reshape(x, b.y.shape)
    value = OF_NOTHING[b.op_type]
    if x.dtype.kind == "i" and np.isinf(value):
        value = np.iinfo(x.dtype).min if value < 0 else np.iinfo(x.dtype).max
    elif x.dtype == np.bool_:
        value = value > 0
    return b.constant(np.full(b.y.shape, value, x.dtype), b.y.name)


@TFLITE.lower("CumSum", layout="axis")
def cumsum(b: NodeBuilder, x: Tensor, axis: Tensor, *, exclusive: int = 0, reverse: int = 0) -> Tensor:
    held = b.axis(b.need_constant(axis, "axis").item())
    options = {"exclusive": bool(exclusive), "reverse": bool(reverse)}
    return b.emit("CUMSUM", [x, b.constant(np.array(held, np.int32), f"{b.y.name}/axis")], options)
