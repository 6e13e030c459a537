"""Activations."""

import numpy as np

from edgewright.export.coreml.builder import MilBuilder, Value
from edgewright.export.coreml.fitting import numbers, real
from edgewright.export.coreml.lowerings import COREML
from edgewright.export.coreml.numbers import UNBOUNDED

SAME = {
    "Erf": "erf",
    "Relu": "relu",
    "Sigmoid": "sigmoid",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "Tanh": "tanh",
}


@COREML.lower(*SAME, fits=real)
def activation(b: MilBuilder, x: Value) -> Value:
    return getattr(b.mb, SAME[b.node.op_type])(x=x)


@COREML.lower("Clip", fits=numbers)
def clip(b: MilBuilder, x: Value, low: Value = None, high: Value = None) -> Value:
    """[0, 6] is relu6 and [0, ∞) relu; an upper bound below the lower one wins, as in ONNX."""
    if not (fixed(low) and fixed(high)):
        x = x if low is None else b.mb.maximum(x=x, y=low)
        return x if high is None else b.mb.minimum(x=x, y=high)
    lowest, highest = bound(b, low, "lower bound"), bound(b, high, "upper bound")
    real = b.is_real(x)
    if real and lowest == 0 and highest in (6, None):
        return b.mb.relu6(x=x) if highest else b.mb.relu(x=x)
    if real and lowest is not None and highest is not None and lowest < highest:
        return b.mb.clip(x=x, alpha=b.real(lowest), beta=b.real(highest))
    number = b.real if real else np.int32
    if lowest is not None:
        x = b.mb.maximum(x=x, y=number(lowest))
    return x if highest is None else b.mb.minimum(x=x, y=number(highest))


def fixed(value: Value) -> bool:
    return value is None or isinstance(value, np.ndarray)


def bound(b: MilBuilder, value: Value, what: str) -> float | int | None:
    if value is None:
        return None
    number = b.constant(value, what).reshape(()).item()
    return None if abs(number) >= min(UNBOUNDED, float(np.finfo(b.dtype).max)) else number


@COREML.lower("LeakyRelu")
def leaky_relu(b: MilBuilder, x: Value, *, alpha: float = 0.009999999776482582) -> Value:
    return b.mb.leaky_relu(x=x, alpha=b.real(alpha))


@COREML.lower("PRelu", fits=numbers)
def prelu(b: MilBuilder, x: Value, slope: Value) -> Value:
    """One slope: leaky ReLU; one a channel of an image: MIL's prelu; any other: max(x, 0) + slope · min(x, 0)."""
    if isinstance(slope, np.ndarray) and slope.size == 1 and b.is_real(x):
        return b.mb.leaky_relu(x=x, alpha=b.real(float(slope.item())))
    rank, lengths = len(x.shape), [n for n in slope.shape if n != 1]
    by_channel = len(lengths) == 1 and len(slope.shape) == rank - 1 and slope.shape[0] == x.shape[1]
    if isinstance(slope, np.ndarray) and by_channel and rank == 4 and b.is_real(x):
        return b.mb.prelu(x=x, alpha=slope.reshape(-1))
    zero = b.real(0.0) if b.is_real(x) else np.int32(0)
    below = b.mb.mul(x=b.mb.minimum(x=x, y=zero), y=slope)
    return b.mb.add(x=b.mb.maximum(x=x, y=zero), y=below)


@COREML.lower("Elu")
def elu(b: MilBuilder, x: Value, *, alpha: float = 1.0) -> Value:
    return b.mb.elu(x=x, alpha=b.real(alpha))


@COREML.lower("HardSigmoid")
def hard_sigmoid(b: MilBuilder, x: Value, *, alpha: float = 0.20000000298023224, beta: float = 0.5) -> Value:
    return b.mb.sigmoid_hard(x=x, alpha=b.real(alpha), beta=b.real(beta))


@COREML.lower("HardSwish")
def hard_swish(b: MilBuilder, x: Value) -> Value:
    """x · max(0, min(1, x/6 + 1/2))."""
    return b.mb.mul(x=x, y=b.mb.sigmoid_hard(x=x, alpha=b.real(1 / 6), beta=b.real(0.5)))


@COREML.lower("Gelu")
def gelu(b: MilBuilder, x: Value, *, approximate: str = "none") -> Value:
    return b.mb.gelu(x=x, mode="EXACT" if approximate == "none" else "TANH_APPROXIMATION")


@COREML.lower("Softmax", layout="axis")
def softmax(b: MilBuilder, x: Value, *, axis: int = -1) -> Value:
    return b.mb.softmax(x=x, axis=axis)


@COREML.lower("LogSoftmax", layout="axis")
def log_softmax(b: MilBuilder, x: Value, *, axis: int = -1) -> Value:
    """y - log Σ exp y with y = x - max x, which no float16 overflows."""
    y = b.mb.sub(x=x, y=b.mb.reduce_max(x=x, axes=[axis], keep_dims=True))
    return b.mb.sub(x=y, y=b.mb.reduce_log_sum_exp(x=y, axes=[axis], keep_dims=True))
