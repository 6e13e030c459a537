"""TFLite's subgraphs see their operands alone: what an inner graph takes from around it becomes one."""

from typing import TYPE_CHECKING

from edgewright.export.tflite.layout import is_constant

if TYPE_CHECKING:
    import onnx_ir as ir

INNER = {"If": ("then_branch", "else_branch"), "Loop": ("body",), "Scan": ("body",)}
"""Operators with inner graphs, and the attributes that hold them."""


def pass_captured_values(graph: "ir.Graph") -> None:
    """Loop(x){ Add(x, outer) } → Loop(x, outer){ … }, in place, innermost first; constants stay as they are.

    A Loop and a Scan get states that stay as they are: body outputs that *are* body inputs. An If gets operands, which
    ONNX does not know: the graph is ready to be lowered then, not to be saved. All outputs get names.
    """
    for node in list(graph):
        if node.op_type in INNER:
            bodies = [node.attributes[name].as_graph() for name in INNER[node.op_type]]
            for body in bodies:
                pass_captured_values(body)
            captured = list(dict.fromkeys(value for body in bodies for value in _captured(body)))
            for body in bodies:
                for value in captured:
                    _enter(node, body, value)
            _rebuild(node, bodies[0], captured)


def _captured(body: "ir.Graph") -> "list[ir.Value]":
    own = set(body.inputs)
    read = [value for node in body for value in node.inputs if value is not None] + list(body.outputs)
    outer = (value for value in read if value not in own and not is_constant(value))
    return [value for value in dict.fromkeys(outer) if (made := value.producer()) is None or made.graph is not body]


def _enter(node: "ir.Node", body: "ir.Graph", value: "ir.Value") -> None:
    """A new input of the body stands for `value` there."""
    import onnx_ir as ir

    inside = ir.Value(name=f"{value.name}/inside", shape=value.shape, type=value.type)
    for user in body:
        for index, operand in enumerate(user.inputs):
            if operand is value:
                user.replace_input_with(index, inside)
    for index, output in enumerate(body.outputs):
        if output is value:
            body.outputs[index] = inside
    place = len(body.inputs) - _sequences(node)
    body.inputs.insert(place, inside)
    if node.op_type != "If":
        body.outputs.insert(place - 1 if node.op_type == "Loop" else place, inside)


def _rebuild(node: "ir.Node", body: "ir.Graph", captured: "list[ir.Value]") -> None:
    """The node with `captured` among its operands, and every output of the body among its outputs."""
    import onnx_ir as ir

    rows = body.outputs[1:] if node.op_type == "Loop" else list(body.outputs)
    operands = [*node.inputs, *[None] * (2 - len(node.inputs))] if node.op_type == "Loop" else list(node.inputs)
    place = len(operands) - _sequences(node)
    operands[place:place] = captured
    made = ir.node(node.op_type, operands, attributes=node.attributes, num_outputs=len(rows), name=node.name)
    for number, (output, row) in enumerate(zip(made.outputs, rows)):
        output.name = f"{node.name or node.op_type}/output_{number}"
        output.type, output.shape = row.type, row.shape
    first = {"If": len(rows), "Loop": place - 2, "Scan": place}[node.op_type]
    for old, new in zip(node.outputs, [*made.outputs[:first], *made.outputs[first + len(captured) :]]):
        new.shape, new.type, new.name = old.shape or new.shape, old.type or new.type, old.name or new.name
        ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
    assert node.graph is not None
    node.graph.insert_after(node, made)
    node.graph.remove(node, safe=True)


def _sequences(node: "ir.Node") -> int:
    """How many of the operands a Scan cuts into steps."""
    return node.attributes["num_scan_inputs"].as_int() if node.op_type == "Scan" else 0
