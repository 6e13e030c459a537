"""Activations that need more than a row."""

import numpy as np

from edgewright.export.tflite.activations import KERNEL_OF_RANGE
from edgewright.export.tflite.node_builder import NodeBuilder
from edgewright.export.tflite.rules import TFLITE
from edgewright.export.tflite.tensor import Tensor


@TFLITE.lower("Clip")
def clip(b: NodeBuilder, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    """RELU, RELU6, RELU_N1_TO_1, else MAXIMUM and MINIMUM; int8 clamps codes, which is exact at equal scales."""
    bounds = (_bound(b, low, -np.inf), _bound(b, high, np.inf))
    kernel = KERNEL_OF_RANGE.get(bounds)
    if (kernel is not None and x.dtype == np.float32) or kernel in ("RELU", "RELU6"):
        return b.emit(str(kernel), [x])
    if x.is_int8 and b.y.quantization is not None and not b.y.quantization.same(x.quantization):
        x = b.emit("QUANTIZE", [x], to=b.temp("rescaled", b.y))
    needed = [(code, bound) for code, bound in zip(("MAXIMUM", "MINIMUM"), bounds) if np.isfinite(bound)]
    for position, (code, bound) in enumerate(needed):
        to = b.y if position == len(needed) - 1 else b.temp("clipped", b.y)
        x = b.emit(code, [x, b.scalar(bound, x, "bound")], to=to)
    return x


def _bound(b: NodeBuilder, bound: Tensor | None, absent: float) -> float:
    return absent if bound is None else float(b.need_constant(bound, "a bound").item())


@TFLITE.lower("LeakyRelu")
def leaky_relu(b: NodeBuilder, x: Tensor, *, alpha: float = 0.009999999776482582) -> Tensor:
    return b.emit("LEAKY_RELU", [x], {"alpha": alpha})


@TFLITE.lower("Elu")
def elu(b: NodeBuilder, x: Tensor, *, alpha: float = 1.0) -> Tensor:
    if alpha != 1.0:
        b.refuse("ELU has alpha 1 only")
    return b.emit("ELU", [x])


@TFLITE.lower("Gelu")
def gelu(b: NodeBuilder, x: Tensor, *, approximate: str = "none") -> Tensor:
    return b.emit("GELU", [x], {"approximate": approximate == "tanh"})


@TFLITE.lower("HardSigmoid")
def hard_sigmoid(b: NodeBuilder, x: Tensor, *, alpha: float = 0.20000000298023224, beta: float = 0.5) -> Tensor:
    """min(max(αx + β, 0), 1) as RELU6(6αx + 6β) / 6: TFLite fuses RELU6 into the addition."""
    b.need_float()
    slope = np.float32(6 * np.float64(np.float32(alpha)))
    if slope != 1:
        x = b.emit("MUL", [x, b.scalar(float(slope), x, "slope")], to=b.temp("sloped", b.y))
    offset = b.scalar(6 * beta, x, "offset")
    clipped = b.emit("ADD", [x, offset], {"fusedActivationFunction": "RELU6"}, to=b.temp("clipped", b.y))
    return b.emit("MUL", [clipped, b.scalar(1 / 6, x, "sixth")])


@TFLITE.lower("Softmax", layout="axis")
def softmax(b: NodeBuilder, x: Tensor, *, axis: int = -1) -> Tensor:
    return _along_last(b, x, axis, "SOFTMAX", {"beta": 1.0})


@TFLITE.lower("LogSoftmax", layout="axis")
def log_softmax(b: NodeBuilder, x: Tensor, *, axis: int = -1) -> Tensor:
    b.need_float()
    return _along_last(b, x, axis, "LOG_SOFTMAX", {})


def _along_last(b: NodeBuilder, x: Tensor, axis: int, code: str, options: dict[str, float]) -> Tensor:
    """The kernels normalise along the last axis only: bring `axis` there and back."""
    held, rank = b.axis(axis), len(x.shape)
    if held == rank - 1:
        return b.emit(code, [x], options)
    order = [*range(held), *range(held + 1, rank), held]
    moved = b.transpose(x, order)
    result = b.emit(code, [moved], options, to=b.temp("last", b.y, moved.shape))
    return b.transpose(result, np.argsort(order).tolist(), b.y)
