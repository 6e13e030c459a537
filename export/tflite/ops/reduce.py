"""Reductions over axes."""

import numpy as np

from edgewright.export.tflite.layout import LAST
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


@TFLITE.lower(*REDUCTIONS, layout="axis")
def reduction(
    b: NodeBuilder, x: Tensor, axes: Tensor | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Tensor:
    if x.dtype == np.bool_ or 0 in x.shape:
        b.refuse("reduction of booleans or of nothing")
    chosen = [] if axes is None else b.need_constant(axes, "axes").tolist()
    if not chosen and noop_with_empty_axes:
        return b.reshape(x, b.y.shape)
    reduced = {axis % b.rank for axis in chosen} or set(range(b.rank))
    held = sorted({b.axis(axis) for axis in reduced})
    code, lifted = REDUCTIONS[b.op_type], b.read_form == LAST and b.rank == 3
    if keepdims:
        return b.emit(code, [x, b.integers(held, "axes")], {"keepDims": True})
    # Without the reduced axes the rest lies in the file's order, which may not be ONNX's.
    left = sorted((axis for axis in range(b.rank) if axis not in reduced), key=b.axis)
    dropped = sorted([*held, 1]) if lifted else held
    order = np.argsort(left).tolist()
    if order == sorted(order):
        return b.emit(code, [x, b.integers(dropped, "axes")], {"keepDims": False})
    shape = [x.shape[b.axis(axis)] for axis in left]
    result = b.emit(code, [x, b.integers(dropped, "axes")], {"keepDims": False}, to=b.temp("held", b.y, shape))
    return b.transpose(result, order, b.y)
