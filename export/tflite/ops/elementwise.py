"""Operators that map one to one, as rows: ONNX name → TFLite name."""

from functools import reduce

import numpy as np

from edgewright.export.tflite.node_builder import NodeBuilder
from edgewright.export.tflite.rules import TFLITE
from edgewright.export.tflite.tensor import Tensor

UNARY = {
    "Abs": "ABS",
    "Ceil": "CEIL",
    "Cos": "COS",
    "Exp": "EXP",
    "Floor": "FLOOR",
    "Log": "LOG",
    "Neg": "NEG",
    "Not": "LOGICAL_NOT",
    "Relu": "RELU",
    "Round": "ROUND",
    "Sigmoid": "LOGISTIC",
    "Sign": "SIGN",
    "Sin": "SIN",
    "Sqrt": "SQRT",
    "Tanh": "TANH",
    "HardSwish": "HARD_SWISH",
}
ARITHMETIC = {"Add": "ADD", "Div": "DIV", "Mul": "MUL", "Sub": "SUB"}
BINARY = {
    "And": "LOGICAL_AND",
    "Equal": "EQUAL",
    "Greater": "GREATER",
    "GreaterOrEqual": "GREATER_EQUAL",
    "Less": "LESS",
    "LessOrEqual": "LESS_EQUAL",
    "Or": "LOGICAL_OR",
    "Pow": "POW",
}
VARIADIC = {"Max": "MAXIMUM", "Min": "MINIMUM", "Sum": "ADD"}

BROADCAST_RANK = 4
"""Broadcasting kernels of every runtime go this far."""


@TFLITE.lower(*UNARY)
def unary(b: NodeBuilder, x: Tensor) -> Tensor:
    return b.emit(UNARY[b.op_type], [x])


@TFLITE.lower(*ARITHMETIC)
def arithmetic(b: NodeBuilder, a: Tensor, c: Tensor) -> Tensor:
    _check_broadcast(b, a, c)
    return b.emit(ARITHMETIC[b.op_type], [a, c], {"fusedActivationFunction": b.activation})


@TFLITE.lower(*BINARY)
def binary(b: NodeBuilder, a: Tensor, c: Tensor) -> Tensor:
    _check_broadcast(b, a, c)
    if b.op_type == "Pow" and (a.dtype != c.dtype or a.dtype == np.int64):
        b.refuse("operands of different or 64-bit types")
    return b.emit(BINARY[b.op_type], [a, c])


@TFLITE.lower("PRelu")
def prelu(b: NodeBuilder, x: Tensor, slope: Tensor) -> Tensor:
    """XNNPACK reads one slope for each channel of the last axis, and beyond the constant where it holds fewer."""
    _check_broadcast(b, x, slope)
    if slope.data is not None and slope.shape[-1:] in ((), (1,)) and x.shape:
        slope = b.constant(np.broadcast_to(slope.data, (*slope.shape[:-1], x.shape[-1])), slope.name)
    return b.emit("PRELU", [x, slope])


@TFLITE.lower(*VARIADIC)
def variadic(b: NodeBuilder, *xs: Tensor) -> Tensor:
    """Pairwise, left to right."""
    if len(xs) == 1:
        return b.reshape(xs[0], b.y.shape)

    def pair(left: Tensor, right: Tensor) -> Tensor:
        _check_broadcast(b, left, right)
        shape = np.broadcast_shapes(left.shape, right.shape)
        to = b.y if right is xs[-1] else b.temp("partial", b.y, shape)
        return b.emit(VARIADIC[b.op_type], [left, right], to=to)

    return reduce(pair, xs)


@TFLITE.lower("Where")
def where(b: NodeBuilder, condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
    _check_broadcast(b, condition, x, y)
    return b.emit("SELECT_V2", [condition, x, y])


@TFLITE.lower("Reciprocal")
def reciprocal(b: NodeBuilder, x: Tensor) -> Tensor:
    return b.emit("DIV", [b.scalar(1.0, x, "one"), x])


@TFLITE.lower("Mod")
def modulo(b: NodeBuilder, a: Tensor, c: Tensor, *, fmod: int = 0) -> Tensor:
    if fmod:
        b.refuse("fmod: FLOOR_MOD takes the sign of the divisor")
    _check_broadcast(b, a, c)
    return b.emit("FLOOR_MOD", [a, c])


@TFLITE.lower("Cast")
def cast(b: NodeBuilder, x: Tensor, *, saturate: int = 1, to: int) -> Tensor:  # noqa: ARG001
    if x.is_int8 or b.y.is_int8:
        b.refuse("int8 that is not quantized")
    kinds = {"inDataType": x.dtype.name.upper(), "outDataType": b.y.dtype.name.upper()}
    return b.emit("CAST", [x], kinds)


@TFLITE.lower("Identity")
def identity(b: NodeBuilder, x: Tensor) -> Tensor:
    return b.reshape(x, b.y.shape)


def _check_broadcast(b: NodeBuilder, *operands: Tensor) -> None:
    if len({operand.shape for operand in operands}) > 1 and len(b.y.shape) > BROADCAST_RANK:
        b.refuse(f"broadcasting beyond rank {BROADCAST_RANK}")
