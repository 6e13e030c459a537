"""Elementwise arithmetic and comparisons: rows, with MIL's broadcasting, which is ONNX's."""

from functools import reduce

import numpy as np

from edgewright.export.coreml.builder import MilBuilder, Value
from edgewright.export.coreml.lowerings import COREML

UNARY = {
    "Abs": "abs",
    "Acos": "acos",
    "Asin": "asin",
    "Atan": "atan",
    "Atanh": "atanh",
    "Ceil": "ceil",
    "Cos": "cos",
    "Cosh": "cosh",
    "Exp": "exp",
    "Floor": "floor",
    "Sign": "sign",
    "Sin": "sin",
    "Sinh": "sinh",
    "Sqrt": "sqrt",
    "Tan": "tan",
}
BINARY = {"Add": "add", "Sub": "sub", "Mul": "mul"}
REAL_BINARY = {"Div": "real_div", "Pow": "pow"}
COMPARISON = {
    "Equal": "equal",
    "Greater": "greater",
    "GreaterOrEqual": "greater_equal",
    "Less": "less",
    "LessOrEqual": "less_equal",
}
LOGICAL = {"And": "logical_and", "Or": "logical_or", "Xor": "logical_xor"}
VARIADIC = {"Max": "maximum", "Min": "minimum"}


@COREML.lower(*UNARY)
def unary(b: MilBuilder, x: Value) -> Value:
    if not b.is_real(x):
        raise b.refusal("an integer input")
    return getattr(b.mb, UNARY[b.node.op_type])(x=x)


@COREML.lower(*BINARY)
def binary(b: MilBuilder, x: Value, y: Value) -> Value:
    return getattr(b.mb, BINARY[b.node.op_type])(x=x, y=y)


@COREML.lower(*REAL_BINARY)
def real_binary(b: MilBuilder, x: Value, y: Value) -> Value:
    if not (b.is_real(x) and b.is_real(y)):
        raise b.refusal("integers")
    return getattr(b.mb, REAL_BINARY[b.node.op_type])(x=x, y=y)


@COREML.lower(*COMPARISON, *LOGICAL)
def comparison(b: MilBuilder, x: Value, y: Value) -> Value:
    return getattr(b.mb, (COMPARISON | LOGICAL)[b.node.op_type])(x=x, y=y)


@COREML.lower(*VARIADIC)
def variadic(b: MilBuilder, *xs: Value) -> Value:
    operation = getattr(b.mb, VARIADIC[b.node.op_type])
    return reduce(lambda x, y: operation(x=x, y=y), xs)


@COREML.lower("Not")
def logical_not(b: MilBuilder, x: Value) -> Value:
    return b.mb.logical_not(x=x)


@COREML.lower("Log")
def log(b: MilBuilder, x: Value) -> Value:
    """MIL adds an epsilon by default; ONNX does not."""
    return b.mb.log(x=x, epsilon=b.real(0.0))


@COREML.lower("Neg")
def neg(b: MilBuilder, x: Value) -> Value:
    return b.mb.mul(x=x, y=b.real(-1.0) if b.is_real(x) else np.int32(-1))


@COREML.lower("Reciprocal")
def reciprocal(b: MilBuilder, x: Value) -> Value:
    """A division, because MIL's `inverse` adds an epsilon."""
    return b.mb.real_div(x=b.real(1.0), y=x)


@COREML.lower("Where")
def where(b: MilBuilder, condition: Value, x: Value, y: Value) -> Value:
    return b.mb.select(cond=condition, a=x, b=y)
