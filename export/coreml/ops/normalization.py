"""Batch normalization that no convolution absorbed."""

import numpy as np

from edgewright.export.coreml.builder import MilBuilder, Value
from edgewright.export.coreml.lowerings import COREML


@COREML.lower("BatchNormalization", layout="nchw")
def batch_normalization(
    b: MilBuilder,
    x: Value,
    scale: Value,
    shift: Value,
    mean: Value,
    variance: Value,
    *,
    epsilon: float = 9.999999747378752e-06,
    momentum: float = 0.8999999761581421,  # noqa: ARG001 (training only)
    training_mode: int = 0,
) -> Value:
    if training_mode:
        raise b.refusal("training mode")
    names = {"scale": scale, "shift": shift, "mean": mean, "variance": variance}
    gamma, beta, center, spread = [b.constant(value, name) for name, value in names.items()]
    if len(x.shape) < 3:  # MIL's batch_norm starts at rank 3
        factor = gamma / np.sqrt(spread + b.real(epsilon))
        return b.mb.add(x=b.mb.mul(x=x, y=factor), y=beta - center * factor)
    return b.mb.batch_norm(x=x, mean=center, variance=spread, gamma=gamma, beta=beta, epsilon=b.real(epsilon))
