"""Elementwise functions that few targets have, without overflow or cancellation."""

import math
from typing import TYPE_CHECKING

from edgewright.export.onnx.decompose import EXPANSIONS, Op

if TYPE_CHECKING:
    import onnx_ir as ir

ERF_ENDS_AT = 3.92  # beyond, erf is ±1 in float32
ERF_NUMERATOR = (
    *(1.1283791462626238, 0.19040082654812576, 0.052747923150765444),
    *(0.003765359510820847, 0.00028487445883551197, 2.050098931139272e-06),
)
ERF_DENOMINATOR = (
    *(1.0, 0.502071081587526, 0.11410673137126248),
    *(0.014968703874322423, 0.0011624683982947596, 3.8091401541725134e-05),
)
"""erf(x) / x as a fraction of polynomials in x², lowest power first: our least-squares fit, reweighted until its
largest relative error is least (2e-8); evaluated in float32 the largest error of erf is 4e-7."""
LARGE = 1e9  # x² + 1 is x² in float32


@EXPANSIONS.lower("Erf")
def erf(op: Op, x: "ir.Value") -> "ir.Value":
    """x·P(x²) / Q(x²), held within ±1."""
    bound = op.like(ERF_ENDS_AT, x)
    near = op("Clip", x, op.like(-ERF_ENDS_AT, x), bound)
    square = op("Mul", near, near)
    above = op("Mul", near, _polynomial(op, x, square, ERF_NUMERATOR))
    ratio = op("Div", above, _polynomial(op, x, square, ERF_DENOMINATOR))
    made: ir.Value = op("Clip", ratio, op.like(-1, x), op.like(1, x))
    return made


def _polynomial(op: Op, x: "ir.Value", power: "ir.Value", coefficients: tuple[float, ...]) -> "ir.Value":
    """By Horner's rule."""
    total = op.like(coefficients[-1], x)
    for coefficient in coefficients[-2::-1]:
        total = op("Add", op("Mul", total, power), op.like(coefficient, x))
    return total


@EXPANSIONS.lower("Tan")
def tan(op: Op, x: "ir.Value") -> "ir.Value":
    made: ir.Value = op("Div", op("Sin", x), op("Cos", x))
    return made


@EXPANSIONS.lower("Sinh")
def sinh(op: Op, x: "ir.Value") -> "ir.Value":
    """Near 0 its series, elsewhere by (exp(|x|/2))², which overflows no earlier than the result."""
    square = op("Mul", x, x)
    series = op("Mul", x, _polynomial(op, x, square, tuple(1 / math.factorial(n) for n in range(1, 12, 2))))
    root = op("Exp", op("Mul", op("Abs", x), op.like(0.5, x)))
    half = op("Mul", root, op.like(0.5, x))
    far = op("Mul", op("Sign", x), op("Sub", op("Mul", half, root), op("Div", op("Div", op.like(0.5, x), root), root)))
    made: ir.Value = op("Where", op("Less", square, op.like(1, x)), series, far)
    return made


@EXPANSIONS.lower("Cosh")
def cosh(op: Op, x: "ir.Value") -> "ir.Value":
    root = op("Exp", op("Mul", op("Abs", x), op.like(0.5, x)))
    half = op("Mul", root, op.like(0.5, x))
    made: ir.Value = op("Add", op("Mul", half, root), op("Div", op("Div", op.like(0.5, x), root), root))
    return made


@EXPANSIONS.lower("Asinh")
def asinh(op: Op, x: "ir.Value") -> "ir.Value":
    """±log1p(a + a² / (1 + √(a² + 1))) of a = |x|."""
    one, size = op.like(1, x), op("Abs", x)
    square = op("Mul", size, size)
    excess = op("Add", size, op("Div", square, op("Add", one, op("Sqrt", op("Add", square, one)))))
    near = _log1p(op, x, excess)
    made: ir.Value = op("Mul", op("Sign", x), _where_large(op, x, size, near))
    return made


@EXPANSIONS.lower("Acosh")
def acosh(op: Op, x: "ir.Value") -> "ir.Value":
    """log1p(t + √(2t + t²)) of t = x - 1."""
    t = op("Sub", x, op.like(1, x))
    root = op("Sqrt", op("Add", op("Add", t, t), op("Mul", t, t)))
    return _where_large(op, x, x, _log1p(op, x, op("Add", t, root)))


@EXPANSIONS.lower("Atanh")
def atanh(op: Op, x: "ir.Value") -> "ir.Value":
    """±log1p(2a / (1 - a)) / 2 of a = |x|; ±∞ at ±1, which kernels that saturate their sums would miss."""
    one, size = op.like(1, x), op("Abs", x)
    ratio = op("Div", op("Add", size, size), op("Sub", one, size))
    half = op("Mul", op("Sign", x), op.like(0.5, x))
    inside = op("Mul", half, _log1p(op, x, ratio))
    for end, limit in ((1, math.inf), (-1, -math.inf)):
        inside = op("Where", op("Equal", x, op.like(end, x)), op.like(limit, x), inside)
    return inside  # type: ignore[no-any-return]


def _where_large(op: Op, x: "ir.Value", size: "ir.Value", otherwise: "ir.Value") -> "ir.Value":
    """log(2·size) where the square of it would overflow."""
    far = op("Add", op("Log", size), op.like(math.log(2), x))
    made: ir.Value = op("Where", op("Less", size, op.like(LARGE, x)), otherwise, far)
    return made


def _log1p(op: Op, x: "ir.Value", excess: "ir.Value") -> "ir.Value":
    """log(1 + e) for e ≥ 0: log(w)·e / (w - 1) with w = 1 + e rounded, so that what rounding lost is put back."""
    one = op.like(1, x)
    whole = op("Add", excess, one)
    plain = op("Log", whole)
    rounded = op("Sub", whole, one)
    kept = op("Mul", plain, op("Div", excess, rounded))
    small = op("Where", op("Equal", whole, one), excess, kept)
    made: ir.Value = op("Where", op("Less", excess, one), small, plain)
    return made


@EXPANSIONS.lower("Mean")
def mean(op: Op, *xs: "ir.Value") -> "ir.Value":
    made: ir.Value = op("Div", op("Sum", *xs), op.like(len(xs), xs[0]))
    return made
