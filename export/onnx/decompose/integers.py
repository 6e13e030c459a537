"""Arithmetic of whole numbers in int32, where a target computes in no other size.

Bytes fit, and are cut to size again as two's complement does. Of 64-bit integers the constants are checked; that what
is computed stays within 32 bits (indices, lengths, counts) is taken for granted, as everywhere in TFLite.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from edgewright.export.onnx.decompose import EXPANSIONS, Op

if TYPE_CHECKING:
    import onnx_ir as ir

WIDENED = ("INT8", "UINT8", "INT16", "UINT16", "INT64")
LONGEST_CHAIN = 64  # a power with such an exponent is at most twelve products


@EXPANSIONS.lower("Relu")
def relu(op: Op, x: "ir.Value") -> "ir.Value | None":
    return op("Max", x, op.like(0, x)) if x.dtype is not None and x.dtype.is_integer() else None


@EXPANSIONS.lower("Abs", "Sign", "Neg", "BitwiseNot")
def unary(op: Op, x: "ir.Value") -> "ir.Value | None":
    return in_int32(op, x)


@EXPANSIONS.lower("Add", "Sub", "Mul", "Div", "Where", "BitwiseAnd", "BitwiseOr", "BitwiseXor")
def binary(op: Op, *operands: "ir.Value") -> "ir.Value | None":
    return in_int32(op, *operands)


@EXPANSIONS.lower("Max", "Min")
def variadic(op: Op, *operands: "ir.Value") -> "ir.Value | None":
    return in_int32(op, *operands)


@EXPANSIONS.lower("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
def compare(op: Op, a: "ir.Value", c: "ir.Value") -> "ir.Value | None":
    return in_int32(op, a, c, gives_bool=True)


@EXPANSIONS.lower("Clip")
def clip(op: Op, x: "ir.Value", low: "ir.Value | None" = None, high: "ir.Value | None" = None) -> "ir.Value | None":
    return in_int32(op, x, low, high)


@EXPANSIONS.lower("BitShift")
def bit_shift(op: Op, x: "ir.Value", shift: "ir.Value", *, direction: str) -> "ir.Value | None":
    """A product with, or the whole quotient by, a power of two. A count below 0 or beyond the width shifts all out."""
    import onnx_ir as ir

    if x.dtype is None:
        return None
    wide = ir.DataType.INT64 if x.dtype == ir.DataType.INT64 else ir.DataType.INT32
    bits, number = wide.bitwidth, wide.numpy()
    value, count = op.cast(x, wide), op.cast(shift, wide)
    out = bits if direction == "LEFT" else bits - 1
    powers = [1 << n for n in range(out)] + [0 if direction == "LEFT" else 1]
    table = op.constant(np.array([n - (n >> bits - 1 << bits) for n in powers], number))
    zero, most = (op.constant(np.array(n, number)) for n in (0, out))
    place = op("Where", op("Less", count, zero), most, op("Min", count, most))
    factor = op("Gather", table, place, axis=0)
    if direction == "LEFT":
        return op.cast(op("Mul", value, factor), x.dtype)
    quotient = op("Div", op("Sub", value, op("Mod", value, factor)), factor)
    sign = op("Where", op("Less", value, zero), op.constant(np.array(-1, number)), zero)
    return op.cast(op("Where", op("Equal", place, most), sign, quotient), x.dtype)


@EXPANSIONS.lower("Mod")
def modulo(op: Op, a: "ir.Value", c: "ir.Value", *, fmod: int = 0) -> "ir.Value | None":
    """With `fmod` the sign is that of the dividend: ±(|a| mod |c|)."""
    if a.dtype is not None and a.dtype.name in WIDENED and a.dtype.name != "INT64":
        return in_int32(op, a, c, fmod=fmod)
    if not fmod:
        return None
    rest = op("Mod", op("Abs", a), op("Abs", c))
    made: ir.Value = op("Where", op("Less", a, op.like(0, a)), op("Neg", rest), rest)
    return made


@EXPANSIONS.lower("Pow")
def power(op: Op, base: "ir.Value", exponent: "ir.Value") -> "ir.Value | None":
    """Products for a constant whole exponent; else both in float32, or both in int32."""
    import onnx_ir as ir

    if base.dtype is None or exponent.dtype is None:
        return None
    if base.dtype == ir.DataType.FLOAT:
        return op("Pow", base, op.cast(exponent, ir.DataType.FLOAT)) if exponent.dtype != ir.DataType.FLOAT else None
    known = None if exponent.const_value is None else exponent.const_value.numpy()
    if known is not None and np.any(known != np.rint(known)):
        return None
    if (
        known is not None
        and known.size == 1
        and known.ndim <= len(base.shape or ())
        and 1 <= known.item() <= LONGEST_CHAIN
    ):
        return _products(op, base, int(known.item()))
    if known is None and exponent.dtype == ir.DataType.FLOAT:
        return None
    wide = [_cast(op, base), _cast(op, exponent)]
    if None in wide:
        return None
    return op.cast(op("Pow", *wide), base.dtype)


def _products(op: Op, base: "ir.Value", exponent: int) -> "ir.Value":
    """x⁵ = x·(x²)²."""
    total, square = None, base
    while True:
        if exponent & 1:
            total = square if total is None else op("Mul", total, square)
        exponent >>= 1
        if not exponent:
            assert total is not None
            return total
        square = op("Mul", square, square)


def in_int32(op: Op, *operands: "ir.Value | None", gives_bool: bool = False, **given: Any) -> "ir.Value | None":
    """The node's own operator on int32, and what it gives cast back; None where that is no other type, or too small."""
    import onnx_ir as ir

    kinds = {v.dtype for v in operands if v is not None and v.dtype not in (None, ir.DataType.BOOL)}
    if len(kinds) != 1 or (kind := next(iter(kinds))) is None or kind.name not in WIDENED:
        return None
    wide = [None if value is None else _cast(op, value) for value in operands]
    if any(cast is None and value is not None for cast, value in zip(wide, operands)):
        return None
    result: ir.Value = op(op.node.op_type, *wide, **given)
    return result if gives_bool else op.cast(result, kind)


def _cast(op: Op, value: "ir.Value") -> "ir.Value | None":
    """In int32; None for a constant that does not fit."""
    import onnx_ir as ir

    if value.dtype == ir.DataType.BOOL:
        return value
    if value.const_value is not None:
        array = value.const_value.numpy()
        limits = np.iinfo(np.int32)
        if array.size and (array.min() < limits.min or array.max() > limits.max):
            return None
    return op.cast(value, ir.DataType.INT32)
