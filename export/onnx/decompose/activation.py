"""Activations in terms of simpler ones."""

from typing import TYPE_CHECKING

from edgewright.export.onnx.decompose import EXPANSIONS, Op

if TYPE_CHECKING:
    import onnx_ir as ir

SELU_ALPHA, SELU_GAMMA = 1.67326319217681884765625, 1.05070102214813232421875


@EXPANSIONS.lower("Softplus")
def softplus(op: Op, x: "ir.Value") -> "ir.Value":
    """max(x, 0) + log(1 + exp(-|x|)): nothing overflows."""
    tail = op("Log", op("Add", op("Exp", op("Neg", op("Abs", x))), op.like(1, x)))
    made: ir.Value = op("Add", op("Relu", x), tail)
    return made


@EXPANSIONS.lower("Elu")
def elu(op: Op, x: "ir.Value", *, alpha: float = 1.0) -> "ir.Value | None":
    """max(x, 0) + α·Elu(min(x, 0)): the kernel's exp(x) - 1 does not cancel near 0."""
    return None if alpha == 1.0 else _elu(op, x, alpha, 1.0)


@EXPANSIONS.lower("Celu")
def celu(op: Op, x: "ir.Value", *, alpha: float = 1.0) -> "ir.Value":
    return _elu(op, x, alpha, alpha)


@EXPANSIONS.lower("Selu")
def selu(op: Op, x: "ir.Value", *, alpha: float = SELU_ALPHA, gamma: float = SELU_GAMMA) -> "ir.Value":
    made: ir.Value = op("Mul", op.like(gamma, x), _elu(op, x, alpha, 1.0))
    return made


def _elu(op: Op, x: "ir.Value", factor: float, width: float) -> "ir.Value":
    """max(x, 0) + factor·(exp(min(x, 0) / width) - 1)."""
    below = op("Min", x, op.like(0, x))
    if width != 1.0:
        below = op("Div", below, op.like(width, x))
    curve = op("Elu", below)
    if factor != 1.0:
        curve = op("Mul", op.like(factor, x), curve)
    made: ir.Value = op("Add", op("Relu", x), curve)
    return made
