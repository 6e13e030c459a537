"""Scales whose results never lie halfway between two codes, so that every runtime rounds them alike.

Runtimes compute the same real number in float32, or in fixed point of 20 bits (XNNPACK's sums), and then round: they
differ where their small errors straddle a tie. An operator's exact result in steps of its output is (whole number) ×
(ratio of scales). Where the ratio is p / q with q odd, results are multiples of 1 / q and keep 1 / 2q from every tie.
Scales are raised to the nearest such ratio, by less than a hundredth of a percent as a rule; none is lowered, so
nothing is cut off.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgewright.export.onnx.quantize.grid import Grid
from edgewright.export.onnx.quantize.plan import Plan, data_inputs

if TYPE_CHECKING:
    import onnx_ir as ir

Floats = NDArray[np.float64]
DENOMINATORS = np.arange(3, 2048, 2)
MOST_RAISED_WEIGHTS = 1e-3  # relative: a hundredth of a decibel
MOST_RAISED = 1 / 256
"""Relative: beyond, the last code of a range would be lost. A scale that would have to grow more stays."""
SUM_DENOMINATORS = DENOMINATORS[DENOMINATORS < 1024]
"""XNNPACK's sums err by up to 2.4e-4 of a step, half of 1 / 2q for the largest of these."""
ROUNDING = 1e-12


def clear_of_ties(
    plan: Plan, grids: "Mapping[ir.Value, Grid]", order: "Mapping[ir.Node, int]"
) -> "dict[ir.Value, Grid]":
    """The grids of groups, by leader, with scales raised so that int8 sums and products round alike everywhere."""
    scales = {leader: grid.scale for leader, grid in grids.items()}
    settled = set(plan.fixed)
    clamping = {producer: act for act, producer in plan.fused.items()}
    for node in sorted((node for node in plan.int8 if node.op_type in ("Add", "Sub", "Mul")), key=order.__getitem__):
        out = plan.groups[clamping.get(node, node).outputs[0]]
        first, second = (plan.groups[value] for value in data_inputs(node))
        if out in (*settled, first, second):
            continue
        if node.op_type == "Mul":
            scales[out] = _product(scales[first] * scales[second], scales[out])
        else:
            given, free = (second, first) if second in settled else (first, second)
            found = _sum(scales[given], scales[free], scales[out], movable=free not in settled)
            if found is None:
                continue
            scales[free], scales[out] = found
        settled |= {first, second, out}
    return {leader: Grid(float(np.float32(scales[leader])), grid.zero_point) for leader, grid in grids.items()}


def _sum(given: float, free: float, out: float, movable: bool) -> tuple[float, float] | None:
    """`free` and `out` raised so that both inputs' scales over `out` are fractions of one odd denominator."""
    if not movable and given != free:
        return None
    q = SUM_DENOMINATORS[SUM_DENOMINATORS * given >= out]
    raised = given * q / np.floor(q * given / out)
    other = np.ceil(q * free / raised * (1 - ROUNDING)) * raised / q if movable else np.full(len(q), free)
    cost = np.maximum(raised / out, other / free)
    if not len(q) or cost.min() > 1 + MOST_RAISED:
        return None
    best = int(cost.argmin())
    return float(other[best]), float(raised[best])


def _product(step: float, out: float) -> float:
    """`out` raised so that `step` over it is a fraction of an odd denominator."""
    q = SUM_DENOMINATORS[SUM_DENOMINATORS * step >= out]
    raised = float((step * q / np.floor(q * step / out)).min(initial=np.inf))
    return raised if raised <= out * (1 + MOST_RAISED) else out


def weight_scales_clear_of_ties(
    scales: NDArray[np.float32], input_scale: float, output_scale: float
) -> NDArray[np.float32]:
    """Scales [channels] of a weight, raised so that the ratio input × weight / output of each keeps clear of ties.

    The smallest denominator within reach keeps the furthest: float sums of large terms that cancel need it.
    """
    ratio = scales.astype(np.float64) * input_scale / output_scale
    q = DENOMINATORS[:, None]
    raised = np.maximum(np.ceil(q * ratio * (1 - ROUNDING)) / (q * ratio), 1.0)
    best = (raised <= 1 + MOST_RAISED_WEIGHTS).argmax(axis=0)
    found = raised[best, np.arange(len(scales))]
    single: NDArray[np.float32] = (scales * np.where(found <= 1 + MOST_RAISED_WEIGHTS, found, 1)).astype(np.float32)
    return single
