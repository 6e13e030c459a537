"""One form for each activation."""

from typing import TYPE_CHECKING

from edgewright.export.onnx.graph import constant, make, nodes_of, replace

if TYPE_CHECKING:
    import onnx_ir as ir

OPEN = 3e38  # bounds beyond it bound nothing in float32


def unify_activations(model: "ir.Model") -> int:
    """Min(Max(x,0),6), Clip(Relu(x),max=6) → Clip(x,0,6); Clip(x,0,∞) → Relu; x·Clip(x+3,0,6)÷6 → HardSwish."""
    from onnxscript.rewriter import RewriteRuleSet
    from onnxscript.rewriter.rules import common as rules

    clips = [rules.min_min_rule, rules.max_max_rule, rules.min_max_rule, rules.max_min_rule]
    relus = [
        rules.successive_relu_rule,
        rules.successive_clip_rule,
        rules.successive_clip_relu_rule,
        rules.successive_relu_clip_rule,
    ]
    count = RewriteRuleSet([*clips, *relus]).apply_to_model(model)
    count += rules.fuse_hardswish_rules().apply_to_model(model)
    return count + sum(_open_clip(node) for node in nodes_of(model, "Clip"))


def _open_clip(node: "ir.Node") -> bool:
    low, high = constant(node, 1), constant(node, 2)
    bounded_above = len(node.inputs) > 2 and node.inputs[2] is not None and (high is None or high.item() < OPEN)
    if bounded_above or low is None or low.item() != 0:
        return False
    replace(node, make("Relu", node.inputs[:1]))
    return True
