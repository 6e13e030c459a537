"""Normalizations in terms of means, products and roots."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgewright.export.onnx.decompose import EXPANSIONS, Op
from edgewright.export.onnx.graph import constant, shape_of

if TYPE_CHECKING:
    import onnx_ir as ir


@EXPANSIONS.lower("BatchNormalization")
def batch_normalization(
    op: Op,
    x: "ir.Value",
    scale: "ir.Value",
    shift: "ir.Value",
    mean: "ir.Value",
    variance: "ir.Value",
    *,
    epsilon: float = 9.999999747378752e-06,
    momentum: float = 0.8999999761581421,
    training_mode: int = 0,
) -> "list[ir.Value] | None":
    """With computed statistics; in training mode with those of the batch, and the running ones as outputs."""
    shape = shape_of(x)
    if shape is None or len(shape) < 2:
        return None
    spread = op.integers(1, -1, *(1,) * (len(shape) - 2))
    others = [axis for axis in range(len(shape)) if axis != 1]
    running: list[ir.Value] = []
    if training_mode:
        batch_mean, batch_variance = _moments(op, x, others)
        old, new = op.like(momentum, mean), op.like(1 - momentum, mean)
        flat = op.integers(shape[1])
        for known, seen in ((mean, batch_mean), (variance, batch_variance)):
            running.append(op("Add", op("Mul", known, old), op("Mul", op("Reshape", seen, flat), new)))
    else:
        batch_mean, batch_variance = op("Reshape", mean, spread), op("Reshape", variance, spread)
    deviation = op("Sqrt", op("Add", batch_variance, op.like(epsilon, variance)))
    normal = op("Div", op("Sub", x, batch_mean), deviation)
    result = op("Add", op("Mul", normal, op("Reshape", scale, spread)), op("Reshape", shift, spread))
    return [result, *running][: len(op.node.outputs)]


def _moments(op: Op, x: "ir.Value", axes: Sequence[int]) -> "tuple[ir.Value, ir.Value]":
    """Mean and variance over axes, which stay as length 1; the variance as the mean of squares of what is centred."""
    over = op.integers(*axes)
    mean = op("ReduceMean", x, over)
    centred = op("Sub", x, mean)
    return mean, op("ReduceMean", op("Mul", centred, centred), over)


@EXPANSIONS.lower("MeanVarianceNormalization")
def mean_variance_normalization(op: Op, x: "ir.Value", *, axes: Sequence[int] = (0, 2, 3)) -> "ir.Value":
    """(x − mean) / (√variance + 1e-9), the variance from what is centred."""
    over = op.integers(*axes)
    centred = op("Sub", x, op("ReduceMean", x, over))
    deviation = op("Sqrt", op("ReduceMean", op("Mul", centred, centred), over))
    made: ir.Value = op("Div", centred, op("Add", deviation, op.like(1e-9, x)))
    return made


@EXPANSIONS.lower("LRN")
def local_response_normalization(
    op: Op,
    x: "ir.Value",
    *,
    alpha: float = 9.999999747378752e-05,
    beta: float = 0.75,
    bias: float = 1.0,
    size: int,
) -> "ir.Value | None":
    """x / (bias + α/size · Σx²)^β; the sum over neighbouring channels is a 1×1 convolution with a band of ones.

    TFLite's own kernel is no help: its reference version leaves out the last neighbour.
    """
    shape = shape_of(x)
    if shape is None or not 3 <= len(shape) <= 5:
        return None
    at = np.arange(shape[1])
    offset = at[None, :] - at[:, None]
    band = (offset >= -((size - 1) // 2)) & (offset <= size // 2)
    weights = (band * np.float32(alpha / size)).astype(np.float32).reshape(*band.shape, *(1,) * (len(shape) - 2))
    sums = op("Conv", op("Mul", x, x), op.constant(weights), op.constant(np.full(shape[1], bias, np.float32)))
    root = op("Sqrt", sums)
    powers = {0.5: root, 0.75: op("Mul", root, op("Sqrt", root)), 1.0: sums}
    made: ir.Value = op("Div", x, powers.get(beta) or op("Pow", sums, op.like(beta, x)))
    return made


@EXPANSIONS.lower("LpNormalization")
def lp_normalization(op: Op, x: "ir.Value", *, axis: int = -1, p: int = 2) -> "ir.Value":
    """x / |x|_p along an axis; zeros stay zeros, as their norm is taken for the smallest number."""
    over = op.integers(axis)
    norm = op("ReduceSum", op("Abs", x), over) if p == 1 else op("Sqrt", op("ReduceSum", op("Mul", x, x), over))
    made: ir.Value = op("Div", x, op("Max", norm, op.like(float(np.finfo(np.float32).tiny), x)))
    return made


@EXPANSIONS.lower("Dropout")
def dropout(
    op: Op,
    data: "ir.Value",
    ratio: "ir.Value | None" = None,  # noqa: ARG001
    training_mode: "ir.Value | None" = None,
    *,
    seed: int | None = None,  # noqa: ARG001
) -> "list[ir.Value] | None":
    """At inference it passes everything on; in training mode with a ratio of 0 too."""
    shape, training = shape_of(data), constant(op.node, 2)
    rate = constant(op.node, 1)
    drops = training_mode is not None and (training is None or bool(training.any()))
    if shape is None or (drops and (rate is None or bool(rate.any()))):
        return None
    everything = op.constant(np.ones(shape, bool))
    return [op("Identity", data), everything][: len(op.node.outputs)]
