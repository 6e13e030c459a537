"""One form for each activation."""

from typing import TYPE_CHECKING

import numpy as np

from edgewright.export.onnx.graph import add_initializer, constant, make, nodes_of, replace, shape_of

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
    odd = any(_has_no_bound(node) for node in nodes_of(model, "Max", "Min"))  # the rules for clips fail on these
    count = RewriteRuleSet(relus if odd else [*clips, *relus]).apply_to_model(model)
    count += rules.fuse_hardswish_rules().apply_to_model(model)
    count += sum(_bounded(node) for node in nodes_of(model, "Max", "Min"))
    return count + sum(_open_clip(node) for node in nodes_of(model, "Clip"))


def _has_no_bound(node: "ir.Node") -> bool:
    """One operand alone, or a constant of no elements."""
    constants = [value.const_value for value in node.inputs if value is not None]
    return len(constants) == 1 or any(each is not None and each.size == 0 for each in constants)


def _bounded(node: "ir.Node") -> bool:
    """Max(x, 2) → Clip(x, min=2); Min(x, 2) → Clip(x, max=2)."""
    if len(node.inputs) != 2:
        return False
    for index in (0, 1):
        bound, other = constant(node, index), node.inputs[1 - index]
        same = shape_of(other) is not None and shape_of(other) == shape_of(node.outputs[0])
        if bound is not None and bound.size == 1 and same and bound.dtype == np.float32 and node.graph is not None:
            value = add_initializer(node.graph, f"{node.outputs[0].name}_bound", bound.reshape(()))
            replace(node, make("Clip", [other, value] if node.op_type == "Max" else [other, None, value]))
            return True
    return False


def _open_clip(node: "ir.Node") -> bool:
    low, high = constant(node, 1), constant(node, 2)
    bounded_above = len(node.inputs) > 2 and node.inputs[2] is not None and (high is None or high.item() < OPEN)
    if bounded_above or low is None or low.item() != 0:
        return False
    replace(node, make("Relu", node.inputs[:1]))
    return True
