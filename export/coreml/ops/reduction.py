"""Reductions over axes."""

from edgewright.export.coreml.builder import MilBuilder, Value
from edgewright.export.coreml.lowerings import COREML

REDUCTIONS = {
    "ReduceL1": "reduce_l1_norm",
    "ReduceL2": "reduce_l2_norm",
    "ReduceLogSumExp": "reduce_log_sum_exp",
    "ReduceMax": "reduce_max",
    "ReduceMean": "reduce_mean",
    "ReduceMin": "reduce_min",
    "ReduceProd": "reduce_prod",
    "ReduceSum": "reduce_sum",
    "ReduceSumSquare": "reduce_sum_square",
}


@COREML.lower(*REDUCTIONS, layout="axis")
def reduction(
    b: MilBuilder, x: Value, axes: Value = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Value:
    if not b.is_real(x):
        raise b.refusal("an integer input")
    chosen = b.integers(axes, "axes") if axes is not None else []
    if not chosen and noop_with_empty_axes:
        raise b.refusal("no axes")
    return getattr(b.mb, REDUCTIONS[b.node.op_type])(
        x=x, axes=chosen or list(range(len(x.shape))), keep_dims=bool(keepdims)
    )
