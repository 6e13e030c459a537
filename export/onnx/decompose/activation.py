"""Activations in terms of simpler ones."""

from typing import TYPE_CHECKING

from edgewright.export.onnx.decompose import EXPANSIONS, Op

if TYPE_CHECKING:
    import onnx_ir as ir


@EXPANSIONS.lower("Softplus")
def softplus(op: Op, x: "ir.Value") -> "ir.Value":
    """max(x, 0) + log(1 + exp(-|x|)): nothing overflows."""
    tail = op("Log", op("Add", op("Exp", op("Neg", op("Abs", x))), op.like(1, x)))
    made: ir.Value = op("Add", op("Relu", x), tail)
    return made
