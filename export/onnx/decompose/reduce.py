"""Reductions in terms of the plain ones."""

from typing import TYPE_CHECKING

import numpy as np

from edgewright.export.onnx.decompose import EXPANSIONS, Op
from edgewright.export.onnx.graph import constant, shape_of

if TYPE_CHECKING:
    import onnx_ir as ir


@EXPANSIONS.lower("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceSumSquare")
def reduced(
    op: Op, x: "ir.Value", axes: "ir.Value | None" = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> "ir.Value | None":
    """Σ|x|, √Σx², log Σx, Σx²; the root and the logarithm of floats only."""
    kind = op.node.op_type
    computed = axes is not None and constant(op.node, 1) is None
    if computed or (kind in ("ReduceL2", "ReduceLogSum") and not _is_float(x)):
        return None
    terms = x if kind == "ReduceLogSum" else op("Abs", x) if kind == "ReduceL1" else op("Mul", x, x)
    made: ir.Value = op("ReduceSum", terms, axes, keepdims=keepdims, noop_with_empty_axes=noop_with_empty_axes)
    last = {"ReduceL2": "Sqrt", "ReduceLogSum": "Log"}.get(kind)
    return op(last, made) if last else made


@EXPANSIONS.lower("ReduceLogSumExp")
def log_sum_exp(
    op: Op, x: "ir.Value", axes: "ir.Value | None" = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> "ir.Value | None":
    """m + log Σ exp(x - m) with m the largest element, kept finite. An infinite m is the answer itself."""
    chosen, shape = constant(op.node, 1), shape_of(x)
    if not _is_float(x) or shape is None or (axes is not None and chosen is None):
        return None
    if noop_with_empty_axes and (chosen is None or not chosen.size):
        return x
    places = op.integers(*(range(len(shape)) if chosen is None or not chosen.size else chosen.tolist()))
    far = float(np.finfo(np.float32).max)
    largest = op("ReduceMax", x, places)
    peaks = op("Clip", largest, op.like(-far, x), op.like(far, x))
    total = op("Add", op("Log", op("ReduceSum", op("Exp", op("Sub", x, peaks)), places)), peaks)
    made: ir.Value = op("Where", op("Equal", largest, peaks), total, largest)
    return made if keepdims else op("Squeeze", made, places)


def _is_float(x: "ir.Value") -> bool:
    return x.dtype is not None and x.dtype.name == "FLOAT"
