"""Operators that map one to one, as rows: ONNX name → TFLite name."""

from typing import TYPE_CHECKING

import numpy as np

from edgewright.export.tflite.broadcast import BROADCAST_RANK, emit_broadcast
from edgewright.export.tflite.node_builder import NodeBuilder
from edgewright.export.tflite.rules import TFLITE
from edgewright.export.tflite.tensor import Tensor
from edgewright.export.tflite.types import computes_in

if TYPE_CHECKING:
    import onnx_ir as ir

UNARY = {
    "Ceil": "CEIL",
    "Cos": "COS",
    "Exp": "EXP",
    "Floor": "FLOOR",
    "Log": "LOG",
    "Relu": "RELU",
    "Round": "ROUND",
    "Sigmoid": "LOGISTIC",
    "Sin": "SIN",
    "Sqrt": "SQRT",
    "Tanh": "TANH",
    "HardSwish": "HARD_SWISH",
}
UNARY_OF_TYPES = {
    "Abs": ("ABS", ("FLOAT", "INT32")),
    "Neg": ("NEG", ("FLOAT", "INT32", "INT64")),
    "Not": ("LOGICAL_NOT", ("BOOL",)),
    "Sign": ("SIGN", ("FLOAT", "INT32")),
}
"""Those that compute in other types than float32 too."""
ARITHMETIC = {"Add": "ADD", "Mul": "MUL", "Sub": "SUB"}
LOGIC = {"And": "LOGICAL_AND", "Or": "LOGICAL_OR", "Xor": "NOT_EQUAL"}
COMPARISONS = {
    "Equal": "EQUAL",
    "Greater": "GREATER",
    "GreaterOrEqual": "GREATER_EQUAL",
    "Less": "LESS",
    "LessOrEqual": "LESS_EQUAL",
}
VARIADIC = {"Max": "MAXIMUM", "Min": "MINIMUM", "Sum": "ADD"}

KERNEL_TYPES = ("FLOAT", "INT32", "INT64")
"""What most kernels compute in; bytes that are no codes are computed in int32."""
NARROW_TYPES = ("FLOAT", "INT32")


@TFLITE.lower(*UNARY, fits=computes_in("FLOAT"))
def unary(b: NodeBuilder, x: Tensor) -> Tensor:
    return b.emit(UNARY[b.op_type], [x])


def _has_type(node: "ir.Node") -> bool:
    return computes_in(*UNARY_OF_TYPES[node.op_type][1])(node)


@TFLITE.lower(*UNARY_OF_TYPES, fits=_has_type)
def unary_of_types(b: NodeBuilder, x: Tensor) -> Tensor:
    return b.emit(UNARY_OF_TYPES[b.op_type][0], [x])


@TFLITE.lower(*ARITHMETIC, fits=computes_in(*KERNEL_TYPES))
def arithmetic(b: NodeBuilder, a: Tensor, c: Tensor) -> Tensor:
    return emit_broadcast(b, ARITHMETIC[b.op_type], [a, c], {"fusedActivationFunction": b.activation})


@TFLITE.lower("Div", fits=computes_in(*NARROW_TYPES))
def divide(b: NodeBuilder, a: Tensor, c: Tensor) -> Tensor:
    if a.dtype == np.int64:
        b.refuse("64-bit integers beyond 32 bits")
    return emit_broadcast(b, "DIV", [a, c], {"fusedActivationFunction": b.activation})


@TFLITE.lower(*LOGIC)
def logic(b: NodeBuilder, a: Tensor, c: Tensor) -> Tensor:
    return emit_broadcast(b, LOGIC[b.op_type], [a, c])


@TFLITE.lower(*COMPARISONS, fits=computes_in(*KERNEL_TYPES, "BOOL"))
def compare(b: NodeBuilder, a: Tensor, c: Tensor) -> Tensor:
    return emit_broadcast(b, COMPARISONS[b.op_type], [a, c])


@TFLITE.lower("IsNaN")
def is_nan(b: NodeBuilder, x: Tensor) -> Tensor:
    return b.emit("NOT_EQUAL", [x, x])


@TFLITE.lower("IsInf")
def is_inf(b: NodeBuilder, x: Tensor, *, detect_negative: int = 1, detect_positive: int = 1) -> Tensor:
    if not (detect_negative or detect_positive):
        return emit_broadcast(b, "LESS", [x, b.scalar(-np.inf, x, "infinity")])
    magnitude = b.emit("ABS", [x], to=b.temp("magnitude", x)) if detect_negative and detect_positive else x
    infinity = b.scalar(np.inf if detect_positive else -np.inf, x, "infinity")
    return emit_broadcast(b, "EQUAL", [magnitude, infinity])


def _same_kind(node: "ir.Node") -> bool:
    """Both float32 or both int32."""
    kinds = {value.dtype.name for value in node.inputs if value is not None and value.dtype is not None}
    return kinds in ({"FLOAT"}, {"INT32"})


@TFLITE.lower("Pow", fits=_same_kind)
def power(b: NodeBuilder, a: Tensor, c: Tensor) -> Tensor:
    if a.dtype != c.dtype or a.dtype not in (np.float32, np.int32):
        b.refuse("a whole number to a computed power that may be none: cast the base to float32")
    if c.data is not None and c.data.size == 1 and c.data.item() == 2 and a.shape == b.y.shape:
        return b.emit("MUL", [a, a], {"fusedActivationFunction": "NONE"})
    return emit_broadcast(b, "POW", [a, c])


def _has_slopes(node: "ir.Node") -> bool:
    """Whether the slopes spread over the input, and not the other way round."""
    x = node.inputs[0]
    return x is not None and x.shape is not None and len(x.shape) <= BROADCAST_RANK and x.shape == node.outputs[0].shape


@TFLITE.lower("PRelu", fits=_has_slopes)
def prelu(b: NodeBuilder, x: Tensor, slope: Tensor) -> Tensor:
    """XNNPACK reads one slope for each channel of the last axis, and beyond the constant where it holds fewer."""
    if slope.data is not None and slope.shape[-1:] in ((), (1,)) and x.shape:
        slope = b.constant(np.broadcast_to(slope.data, (*slope.shape[:-1], x.shape[-1])), slope.name)
    return b.emit("PRELU", [x, slope])


@TFLITE.lower(*VARIADIC, fits=computes_in(*KERNEL_TYPES))
def variadic(b: NodeBuilder, *xs: Tensor) -> Tensor:
    """Pairwise, left to right."""
    if len(xs) == 1:
        return b.reshape(xs[0], b.y.shape)

    total = xs[0]
    for position, right in enumerate(xs[1:], 1):
        shape = np.broadcast_shapes(total.shape, right.shape)
        to = b.y if position == len(xs) - 1 else b.temp("partial", b.y, shape)
        total = emit_broadcast(b, VARIADIC[b.op_type], [total, right], to=to)
    return total


@TFLITE.lower("Where", fits=computes_in(*KERNEL_TYPES, "BOOL"))
def where(b: NodeBuilder, condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return emit_broadcast(b, "SELECT_V2", [condition, x, y])


@TFLITE.lower("Reciprocal")
def reciprocal(b: NodeBuilder, x: Tensor) -> Tensor:
    return emit_broadcast(b, "DIV", [b.scalar(1.0, x, "one"), x])


@TFLITE.lower("Mod", fits=lambda node: computes_in(*KERNEL_TYPES)(node) and not node.attributes.get_int("fmod", 0))
def modulo(b: NodeBuilder, a: Tensor, c: Tensor, *, fmod: int = 0) -> Tensor:
    if fmod:
        b.refuse("fmod: FLOOR_MOD takes the sign of the divisor")
    return emit_broadcast(b, "FLOOR_MOD", [a, c])


@TFLITE.lower("Cast")
def cast(b: NodeBuilder, x: Tensor, *, saturate: int = 1, to: int) -> Tensor:  # noqa: ARG001
    if b.micro and x.dtype == np.uint8 and b.y.dtype == np.float32:  # its CAST takes no uint8
        return b.emit("DEQUANTIZE", [x])
    if x.quantization is not None or b.y.quantization is not None:
        b.refuse("the codes of a quantized tensor have no meaning of their own; cast before QuantizeLinear")
    kinds = {"inDataType": x.dtype.name.upper(), "outDataType": b.y.dtype.name.upper()}
    return b.emit("CAST", [x], kinds)


@TFLITE.lower("Identity")
def identity(b: NodeBuilder, x: Tensor) -> Tensor:
    return b.reshape(x, b.y.shape)
