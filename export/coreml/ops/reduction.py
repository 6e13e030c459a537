"""Reductions over axes."""

from edgewright.export.coreml.builder import MilBuilder, Value
from edgewright.export.coreml.fitting import numbers, real
from edgewright.export.coreml.lowerings import COREML

REAL_REDUCTIONS = {
    "ReduceL2": "reduce_l2_norm",
    "ReduceLogSumExp": "reduce_log_sum_exp",
    "ReduceMean": "reduce_mean",
}
REDUCTIONS = {
    "ReduceL1": "reduce_l1_norm",
    "ReduceProd": "reduce_prod",
    "ReduceSum": "reduce_sum",
    "ReduceSumSquare": "reduce_sum_square",
}
EXTREMES = {"ReduceMax": "reduce_max", "ReduceMin": "reduce_min"}
ROWS = REAL_REDUCTIONS | REDUCTIONS | EXTREMES


@COREML.lower(*EXTREMES, layout="axis")  # 8-bit integers included: nothing leaves their range
@COREML.lower(*REDUCTIONS, layout="axis", fits=numbers)
@COREML.lower(*REAL_REDUCTIONS, layout="axis", fits=real)
def reduction(
    b: MilBuilder, x: Value, axes: Value = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Value:
    """Without axes all are meant, or none: then each element is reduced by itself."""
    chosen, numeric = b.integers(axes, "axes") if axes is not None else [], b.number(x)
    operation = getattr(b.mb, ROWS[b.node.op_type])
    if not chosen and (noop_with_empty_axes or not x.shape):
        made = operation(x=b.mb.expand_dims(x=numeric, axes=[-1]), axes=[-1], keep_dims=False)
    else:
        made = operation(x=numeric, axes=chosen or list(range(len(x.shape))), keep_dims=bool(keepdims))
    return b.typed(made, x)
