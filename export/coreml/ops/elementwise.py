"""Elementwise arithmetic and comparisons: rows, with MIL's broadcasting, which is ONNX's."""

from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from edgewright.export.coreml.builder import MilBuilder, Value
from edgewright.export.coreml.fitting import numbers, real
from edgewright.export.coreml.lowerings import COREML

if TYPE_CHECKING:
    import onnx_ir as ir

UNARY = {
    "Acos": "acos",
    "Asin": "asin",
    "Atan": "atan",
    "Atanh": "atanh",
    "Ceil": "ceil",
    "Cos": "cos",
    "Cosh": "cosh",
    "Exp": "exp",
    "Floor": "floor",
    "Round": "round",
    "Sin": "sin",
    "Sinh": "sinh",
    "Sqrt": "sqrt",
    "Tan": "tan",
}
WHOLE_UNARY = {"Abs": "abs", "Sign": "sign"}
BINARY = {"Add": "add", "Sub": "sub", "Mul": "mul"}
COMPARISON = {
    "Equal": "equal",
    "Greater": "greater",
    "GreaterOrEqual": "greater_equal",
    "Less": "less",
    "LessOrEqual": "less_equal",
}
LOGICAL = {"And": "logical_and", "Or": "logical_or", "Xor": "logical_xor"}
BITWISE = ("BitwiseAnd", "BitwiseOr", "BitwiseXor")
BIT_VALUES = np.array([*(1 << bit for bit in range(31)), -(1 << 31)], np.int32)
VARIADIC = {"Max": "maximum", "Min": "minimum", "Sum": "add"}


@COREML.lower(*UNARY, fits=real)
def unary(b: MilBuilder, x: Value) -> Value:
    return getattr(b.mb, UNARY[b.node.op_type])(x=x)


@COREML.lower(*WHOLE_UNARY, fits=numbers)
def whole_unary(b: MilBuilder, x: Value) -> Value:
    return getattr(b.mb, WHOLE_UNARY[b.node.op_type])(x=x)


@COREML.lower(*BINARY, fits=numbers)
def binary(b: MilBuilder, x: Value, y: Value) -> Value:
    return getattr(b.mb, BINARY[b.node.op_type])(x=x, y=y)


@COREML.lower("Div", fits=numbers)
def div(b: MilBuilder, x: Value, y: Value) -> Value:
    return b.mb.real_div(x=x, y=y) if b.is_real(x) else cut_quotient(b, x, y)


def cut_quotient(b: MilBuilder, x: Value, y: Value) -> Value:
    """The quotient of integers, cut towards zero."""
    low, zero = b.mb.floor_div(x=x, y=y), np.int32(0)
    apart = b.mb.logical_xor(x=b.mb.less(x=x, y=zero), y=b.mb.less(x=y, y=zero))
    below = b.mb.logical_and(x=apart, y=b.mb.not_equal(x=b.mb.mul(x=low, y=y), y=x))
    return b.mb.add(x=low, y=b.mb.cast(x=below, dtype="int32"))


@COREML.lower("Mod", fits=numbers)
def mod(b: MilBuilder, x: Value, y: Value, *, fmod: int = 0) -> Value:
    """The rest with the sign of x (fmod) or of y. MIL's `mod` does not say whose it has: it gets |x|, |y|."""
    if b.is_real(x):
        rest = b.mb.mul(x=b.mb.mod(x=b.mb.abs(x=x), y=b.mb.abs(x=y)), y=b.mb.sign(x=x))
        return rest if fmod else moved(b, rest, y)
    quotient = cut_quotient(b, x, y) if fmod else b.mb.floor_div(x=x, y=y)
    return b.mb.sub(x=x, y=b.mb.mul(x=quotient, y=y))


def moved(b: MilBuilder, rest: Value, y: Value) -> Value:
    """By y, where the rest has the other sign."""
    zero = b.real(0.0)
    apart = b.mb.logical_xor(x=b.mb.less(x=rest, y=zero), y=b.mb.less(x=y, y=zero))
    other = b.mb.logical_and(x=apart, y=b.mb.not_equal(x=rest, y=zero))
    return b.chosen(other, b.mb.add(x=rest, y=y), rest)


def _same_types(node: "ir.Node") -> bool:
    kinds = {value.dtype for value in node.inputs if value is not None}
    return numbers(node) and len(kinds) == 1 and (real(node) or _exponent_is_computed(node))


def _exponent_is_computed(node: "ir.Node") -> bool:
    exponent = node.inputs[1]
    return exponent is not None and exponent.const_value is None


@COREML.lower("Pow", fits=_same_types)
def pow_(b: MilBuilder, x: Value, y: Value) -> Value:
    return b.mb.pow(x=x, y=y)


@COREML.lower(*COMPARISON)
def comparison(b: MilBuilder, x: Value, y: Value) -> Value:
    return getattr(b.mb, COMPARISON[b.node.op_type])(x=b.number(x), y=b.number(y))


@COREML.lower(*LOGICAL)
def logical(b: MilBuilder, x: Value, y: Value) -> Value:
    return getattr(b.mb, LOGICAL[b.node.op_type])(x=x, y=y)


@COREML.lower("BitwiseNot", fits=numbers)
def bitwise_not(b: MilBuilder, x: Value) -> Value:
    return b.mb.sub(x=np.int32(-1), y=x)


@COREML.lower(*BITWISE, fits=numbers)
def bitwise(b: MilBuilder, x: Value, y: Value) -> Value:
    """Bit by bit, along a new last axis: MIL has no such operation. The sign is the highest bit."""
    first, second = bits(b, x), bits(b, y)
    both = b.mb.mul(x=first, y=second)
    made = both
    if b.node.op_type != "BitwiseAnd":
        either = b.mb.sub(x=b.mb.add(x=first, y=second), y=both)
        made = either if b.node.op_type == "BitwiseOr" else b.mb.sub(x=either, y=both)
    return b.mb.reduce_sum(x=b.mb.mul(x=made, y=BIT_VALUES), axes=[-1], keep_dims=False)


def bits(b: MilBuilder, x: Value) -> Value:
    """[..., 32], lowest first."""
    apart = np.expand_dims(x, -1) if isinstance(x, np.ndarray) else b.mb.expand_dims(x=x, axes=[-1])
    halves = b.mb.floor_div(x=apart, y=BIT_VALUES[:-1])
    odd = b.mb.sub(x=halves, y=b.mb.mul(x=b.mb.floor_div(x=halves, y=np.int32(2)), y=np.int32(2)))
    sign = b.mb.cast(x=b.mb.less(x=apart, y=np.int32(0)), dtype="int32")
    return b.mb.concat(values=[odd, sign], axis=len(apart.shape) - 1, interleave=False)


@COREML.lower("IsNaN", fits=real)
def is_nan(b: MilBuilder, x: Value) -> Value:
    return b.mb.not_equal(x=x, y=x)


@COREML.lower("IsInf", fits=real)
def is_inf(b: MilBuilder, x: Value, *, detect_negative: int = 1, detect_positive: int = 1) -> Value:
    if detect_negative and detect_positive:
        return b.mb.equal(x=b.mb.abs(x=x), y=b.real(np.inf))
    if not detect_negative and not detect_positive:
        return none(b, x)
    return b.mb.equal(x=x, y=b.real(np.inf if detect_positive else -np.inf))


def none(b: MilBuilder, x: Value) -> Value:
    """False for every element."""
    return b.mb.logical_and(x=b.mb.equal(x=x, y=x), y=b.mb.not_equal(x=x, y=x))


@COREML.lower(*VARIADIC, fits=numbers)
def variadic(b: MilBuilder, *xs: Value) -> Value:
    operation = getattr(b.mb, VARIADIC[b.node.op_type])
    return reduce(lambda x, y: operation(x=x, y=y), xs)


@COREML.lower("Not")
def logical_not(b: MilBuilder, x: Value) -> Value:
    return b.mb.logical_not(x=x)


@COREML.lower("Log", fits=real)
def log(b: MilBuilder, x: Value) -> Value:
    """MIL adds an epsilon by default; ONNX does not."""
    return b.mb.log(x=x, epsilon=b.real(0.0))


@COREML.lower("Neg", fits=numbers)
def neg(b: MilBuilder, x: Value) -> Value:
    return b.mb.mul(x=x, y=b.real(-1.0) if b.is_real(x) else np.int32(-1))


@COREML.lower("Reciprocal", fits=real)
def reciprocal(b: MilBuilder, x: Value) -> Value:
    """A division, because MIL's `inverse` adds an epsilon."""
    return b.mb.real_div(x=b.real(1.0), y=x)


@COREML.lower("Where")
def where(b: MilBuilder, condition: Value, x: Value, y: Value) -> Value:
    return b.chosen(condition, x, y)
