"""Searches in terms of the plain ones."""

from typing import TYPE_CHECKING

import numpy as np

from edgewright.export.onnx.decompose import EXPANSIONS, Op
from edgewright.export.onnx.graph import shape_of

if TYPE_CHECKING:
    import onnx_ir as ir


@EXPANSIONS.lower("ArgMax", "ArgMin")
def extreme(
    op: Op, x: "ir.Value", *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0
) -> "ir.Value | None":
    """The last of equal elements is the first when the axis runs backwards; of int64, the first of TopK."""
    kind, shape = op.node.op_type, shape_of(x)
    if shape is None:
        return None
    if not select_last_index:
        if x.dtype is None or x.dtype.name != "INT64":
            return None
        made: ir.Value = op("TopK", x, op.integers(1), outputs=2, axis=axis, largest=int(kind == "ArgMax"))[1]
        return made if keepdims else op("Squeeze", made, op.integers(axis))
    beyond = -shape[axis] - 1  # as far back as a slice that takes in element 0 must end
    backwards = op("Slice", x, op.integers(-1), op.integers(beyond), op.integers(axis), op.integers(-1))
    found = op(kind, backwards, axis=axis, keepdims=keepdims)
    last = op.constant(np.array(shape[axis] - 1))
    return op("Sub", last, found)  # type: ignore[no-any-return]
