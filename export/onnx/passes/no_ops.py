"""Operators that change nothing disappear."""

from typing import TYPE_CHECKING

from edgewright.export.onnx.graph import constant, drop_identities, integers, make, nodes_of, replace, shape_of

if TYPE_CHECKING:
    import onnx_ir as ir

RULED = ("Cast", "Expand", "Transpose")
"""What the library's rules start from; without any, trying them all costs a tenth of a conversion."""

NEUTRAL = {"Add": 0, "Sub": 0, "Mul": 1, "Div": 1}


def remove_no_ops(model: "ir.Model") -> int:
    """Dropout(Identity(x)) + 0 → x; likewise x·1, x÷1, a Cast to the same type, an Expand, Pad or Slice of nothing.

    So does an Expand before an operator that broadcasts.
    """
    from onnxscript.rewriter import RewriteRuleSet
    from onnxscript.rewriter.rules import common as rules

    before = len(model.graph)
    plain = [rules.no_op_cast_rule, rules.no_op_expand_rule, rules.no_op_transpose_rule]
    if any(node.op_type in RULED for node in model.graph.all_nodes()):
        RewriteRuleSet([*plain, *rules.expand_before_binary_op_rules]).apply_to_model(model)
    for node in nodes_of(model, *NEUTRAL):
        _leave_out_neutral(node)
    for node in nodes_of(model, "Concat"):
        _leave_out_empty(node)
    for node in nodes_of(model, "Dropout", "Pad", "AveragePool", "MaxPool", "Concat", "Slice"):
        if _does_nothing(node):
            replace(node, make("Identity", [node.inputs[0]]))
    drop_identities(model)
    return before - len(model.graph)


def _leave_out_neutral(node: "ir.Node") -> None:
    """x + 0, 0 + x, x - 0, x·1, 1·x, x÷1 → x, exactly so: an ε of 1e-10 keeps a logarithm finite."""
    for index in (0, 1) if node.op_type in ("Add", "Mul") else (1,):
        operand, other = constant(node, index), node.inputs[1 - index]
        same = shape_of(other) is not None and shape_of(other) == shape_of(node.outputs[0])
        if operand is not None and operand.size == 1 and same and operand.item() == NEUTRAL[node.op_type]:
            replace(node, make("Identity", [other]))
            return


def _leave_out_empty(node: "ir.Node") -> None:
    """Concat(x, x[:, 5:5]) → Concat(x): what a roll or a crop by nothing leaves."""
    axis = node.attributes.get_int("axis", 0)
    full = [value for value in node.inputs if (shape := shape_of(value)) is None or shape[axis] > 0]
    if 0 < len(full) < len(node.inputs):
        replace(node, make("Concat", full, {"axis": axis}))


def _does_nothing(node: "ir.Node") -> bool:
    if len(node.outputs) > 1 and any(output.uses() or output.is_graph_output() for output in node.outputs[1:]):
        return False
    if node.op_type == "Dropout":
        training = node.inputs[2] if len(node.inputs) > 2 else None
        return training is None or (training.const_value is not None and not training.const_value.numpy().any())
    if node.op_type == "Concat":
        return len(node.inputs) == 1
    if node.op_type == "Pad":
        pads = constant(node, 1)
        return pads is not None and not pads.any()
    same = shape_of(node.inputs[0]) is not None and shape_of(node.inputs[0]) == shape_of(node.outputs[0])
    if node.op_type == "Slice":
        steps = constant(node, 4)
        return same and (bool((steps == 1).all()) if steps is not None else len(node.inputs) < 5)
    return same and set(integers(node, "kernel_shape", ())) == {1} and not any(integers(node, "pads", (0,)))
