"""Reductions over axes."""

from typing import TYPE_CHECKING

from edgewright.export.onnx.differentiable.rules import TORCH, Call

if TYPE_CHECKING:
    from torch import Tensor

REDUCTIONS = {"ReduceMean": "mean", "ReduceSum": "sum", "ReduceMax": "amax", "ReduceMin": "amin"}
SQUARES = {"ReduceSumSquare": 1.0, "ReduceL2": 0.5}
"""Exponents of the sum of squares."""


@TORCH.lower(*REDUCTIONS)
def reduction(
    b: Call, x: "Tensor", axes: "Tensor | None" = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> "Tensor":
    chosen = [] if axes is None else axes.tolist()
    if not chosen and noop_with_empty_axes:
        return x
    if 0 in x.shape:
        b.refuse("nothing to reduce")
    y: Tensor = getattr(x, REDUCTIONS[b.op_type])(chosen or tuple(range(x.dim())), keepdim=bool(keepdims))
    return y


@TORCH.lower(*SQUARES)
def squares(
    b: Call, x: "Tensor", axes: "Tensor | None" = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> "Tensor":
    chosen = [] if axes is None else axes.tolist()
    if not chosen and noop_with_empty_axes:
        return x.square().pow(SQUARES[b.op_type]).to(x.dtype)
    total = x.square().sum(chosen or tuple(range(x.dim())), keepdim=bool(keepdims))
    return total.pow(SQUARES[b.op_type]).to(x.dtype)
