"""What a graph says of itself: tensors made of shapes and constants alone."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgewright.export.onnx.decompose import EXPANSIONS, Op
from edgewright.export.onnx.graph import constant, shape_of

if TYPE_CHECKING:
    import onnx_ir as ir


@EXPANSIONS.lower("Shape")
def shape(op: Op, x: "ir.Value", *, end: int | None = None, start: int = 0) -> "ir.Value | None":
    known = shape_of(x)
    picked = () if known is None else known[start:end]
    return op.integers(*picked) if picked else None


@EXPANSIONS.lower("Size")
def size(op: Op, x: "ir.Value") -> "ir.Value | None":
    known = shape_of(x)
    return None if known is None else op.constant(np.array(np.prod(known, dtype=np.int64)))


@EXPANSIONS.lower("ConstantOfShape")
def constant_of_shape(op: Op, shape: "ir.Value", *, value: NDArray[Any] | None = None) -> "ir.Value | None":  # noqa: ARG001
    known = constant(op.node, 0)
    filling = np.zeros(1, np.float32) if value is None else value
    return None if known is None else op.constant(np.full(known, filling.item(), filling.dtype))


@EXPANSIONS.lower("EyeLike")
def eye_like(op: Op, x: "ir.Value", *, dtype: int | None = None, k: int = 0) -> "ir.Value | None":
    import onnx_ir as ir

    known = shape_of(x)
    kind = x.dtype if dtype is None else ir.DataType(dtype)
    if known is None or kind is None:
        return None
    rows, columns = known
    return op.constant(np.eye(rows, columns, k=k, dtype=kind.numpy()))


@EXPANSIONS.lower("Range")
def range_(op: Op, start: "ir.Value", limit: "ir.Value", delta: "ir.Value") -> "ir.Value | None":  # noqa: ARG001
    first, end, step = (constant(op.node, index) for index in range(3))
    if first is None or end is None or step is None:
        return None
    count = max(int(np.ceil((end.item() - first.item()) / step.item())), 0)
    return op.constant((first.item() + np.arange(count) * step.item()).astype(first.dtype))


@EXPANSIONS.lower("Constant")
def constant_(
    op: Op,
    *,
    sparse_value: object = None,
    value: NDArray[Any] | None = None,
    value_float: float | None = None,
    value_floats: Sequence[float] | None = None,
    value_int: int | None = None,
    value_ints: Sequence[int] | None = None,
    value_string: str | None = None,
    value_strings: Sequence[str] | None = None,
) -> "ir.Value | None":
    """One that is an output of the graph itself; all others are initializers already."""
    if sparse_value is not None or value_string is not None or value_strings is not None:
        return None
    if value is not None:
        return op.constant(value)
    floats = value_float if value_floats is None else value_floats
    if floats is not None:
        return op.constant(np.array(floats, np.float32))
    return op.constant(np.array(value_int if value_ints is None else value_ints, np.int64))
