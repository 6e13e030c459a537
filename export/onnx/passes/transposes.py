"""Transposes that cancel or add up."""

from typing import TYPE_CHECKING

from edgewright.export.onnx.graph import drop_identities

if TYPE_CHECKING:
    import onnx_ir as ir


def merge_transposes(model: "ir.Model") -> int:
    """Transpose(p) → Transpose(p⁻¹) disappears; Transpose(p) → Transpose(q) becomes Transpose(p∘q)."""
    from onnxscript.rewriter import RewriteRuleSet
    from onnxscript.rewriter.rules import common as rules

    count = RewriteRuleSet([rules.transpose_transpose_rule, rules.no_op_transpose_rule]).apply_to_model(model)
    drop_identities(model)
    return count
