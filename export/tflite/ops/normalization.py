"""Normalizations that no pass folded away."""

import numpy as np

from edgewright.export.tflite.node_builder import NodeBuilder
from edgewright.export.tflite.rules import TFLITE
from edgewright.export.tflite.tensor import Tensor


@TFLITE.lower("BatchNormalization", layout="axis")
def batch_normalization(
    b: NodeBuilder,
    x: Tensor,
    scale: Tensor,
    shift: Tensor,
    mean: Tensor,
    variance: Tensor,
    *,
    epsilon: float = 9.999999747378752e-06,
    momentum: float = 0.8999999761581421,  # noqa: ARG001
    training_mode: int = 0,
) -> Tensor:
    """x · s + t with s = scale / √(variance + ε) and t = shift − mean · s, per channel."""
    if training_mode or len(b.ys) > 1:
        b.refuse("training mode")
    b.need_float()
    values = [b.need_constant(tensor, "statistics").astype(np.float64) for tensor in (scale, shift, mean, variance)]
    factor = values[0] / np.sqrt(values[3] + epsilon)
    spread = [1] * len(x.shape)
    spread[b.axis(1)] = -1
    factors = b.constant(factor.astype(np.float32).reshape(spread), f"{b.y.name}/factor")
    offsets = b.constant((values[1] - values[2] * factor).astype(np.float32).reshape(spread), f"{b.y.name}/offset")
    return b.emit("ADD", [b.emit("MUL", [x, factors], to=b.temp("scaled", x)), offsets])
