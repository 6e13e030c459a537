"""Padding is an attribute of the operator that needs it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir


def fuse_padding(model: "ir.Model") -> int:
    """Pad(0) → Conv becomes Conv(pads)."""
    from onnxscript.rewriter import RewriteRuleSet
    from onnxscript.rewriter.rules import common as rules

    return RewriteRuleSet([rules.fuse_pad_into_conv_rule]).apply_to_model(model)
