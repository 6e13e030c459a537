"""Activations that need more than a row."""

import numpy as np

from edgewright.export.tflite.activations import KERNEL_OF_RANGE
from edgewright.export.tflite.broadcast import emit_broadcast
from edgewright.export.tflite.node_builder import NodeBuilder
from edgewright.export.tflite.rules import TFLITE
from edgewright.export.tflite.tensor import Tensor
from edgewright.export.tflite.types import computes_in


@TFLITE.lower("Clip", fits=computes_in("FLOAT", "INT32", "INT64"))
def clip(b: NodeBuilder, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    """RELU, RELU6, RELU_N1_TO_1, else MAXIMUM and MINIMUM; int8 clamps codes, which is exact at equal scales."""
    kernel = (
        None
        if x.dtype not in (np.float32, np.int8)
        else KERNEL_OF_RANGE.get((_bound(low, -np.inf), _bound(high, np.inf)))
    )
    if kernel is not None and (not x.is_int8 or kernel in ("RELU", "RELU6")):
        return b.emit(kernel, [x])
    if x.is_int8 and b.y.quantization is not None and not b.y.quantization.same(x.quantization):
        x = b.emit("QUANTIZE", [x], to=b.temp("rescaled", b.y))
    bounds = [(code, _at_scale(b, x, bound)) for code, bound in (("MAXIMUM", low), ("MINIMUM", high)) if bound]
    for position, (code, bound) in enumerate(bounds):
        to = b.y if position == len(bounds) - 1 else b.temp("clipped", b.y)
        x = emit_broadcast(b, code, [x, bound], to=to)
    return x


def _bound(bound: Tensor | None, absent: float) -> float:
    """NaN, which is in no table, where it is computed."""
    return absent if bound is None else np.nan if bound.data is None else float(bound.data.item())


def _at_scale(b: NodeBuilder, x: Tensor, bound: Tensor) -> Tensor:
    return bound if not x.is_int8 else b.scalar(float(b.need_constant(bound, "a bound").item()), x, "bound")


@TFLITE.lower("LeakyRelu")
def leaky_relu(b: NodeBuilder, x: Tensor, *, alpha: float = 0.009999999776482582) -> Tensor:
    return b.emit("LEAKY_RELU", [x], {"alpha": alpha})


@TFLITE.lower("Elu", fits=lambda node: node.attributes.get_float("alpha", 1.0) == 1.0)
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
        x = emit_broadcast(b, "MUL", [x, b.scalar(float(slope), x, "slope")], to=b.temp("sloped", b.y))
    offset = b.scalar(6 * beta, x, "offset")
    clipped = emit_broadcast(b, "ADD", [x, offset], {"fusedActivationFunction": "RELU6"}, to=b.temp("clipped", b.y))
    return emit_broadcast(b, "MUL", [clipped, b.scalar(1 / 6, x, "sixth")])


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
