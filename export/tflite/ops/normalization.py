"""Normalizations that no pass folded away."""

import numpy as np

from edgewright.export.tflite.node_builder import NodeBuilder
from edgewright.export.tflite.ops.elementwise import BROADCAST_RANK
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


@TFLITE.lower("LayerNormalization", layout="nchw")
def layer_normalization(
    b: NodeBuilder,
    x: Tensor,
    scale: Tensor,
    shift: Tensor | None = None,
    *,
    axis: int = -1,
    epsilon: float = 9.999999747378752e-06,
    stash_type: int = 1,  # noqa: ARG001 (TFLite computes in float32)
) -> list[Tensor]:
    """d / √(mean(d²) + ε) · scale + shift with d = x − mean(x), over the axes from `axis` on; mean and 1/√ as asked."""
    b.need_float()
    rank = len(x.shape)
    if rank > BROADCAST_RANK or len(b.ys) == 2:
        b.refuse(f"rank above {BROADCAST_RANK}, or one of its statistics alone as output")
    axes = b.integers(range(axis % rank, rank), "axes")
    row = [1 if at >= axis % rank else length for at, length in enumerate(x.shape)]
    mean, inverse = b.ys[1:] or (b.temp("mean", x, row), b.temp("inverse", x, row))
    b.emit("MEAN", [x, axes], {"keepDims": True}, to=mean)
    centred = b.emit("SUB", [x, mean], to=b.temp("centred", x))
    square = b.emit("MUL", [centred, centred], to=b.temp("square", x))
    variance = b.emit("MEAN", [square, axes], {"keepDims": True}, to=b.temp("variance", x, row))
    safe = b.emit("ADD", [variance, b.scalar(epsilon, x, "epsilon")], to=b.temp("safe", x, row))
    b.emit("RSQRT", [safe], to=inverse)
    normal = b.emit("MUL", [centred, inverse], to=b.temp("normal", x))
    if shift is None:
        b.emit("MUL", [normal, scale])
    else:
        b.emit("ADD", [b.emit("MUL", [normal, scale], to=b.temp("scaled", x)), shift])
    return list(b.ys)
