"""If, Loop and Scan whose course is known ahead become plain nodes; what stays knows the shapes that it gives."""

from typing import TYPE_CHECKING

import numpy as np

from edgewright.export.onnx.graph import add_initializer, constant, shape_of
from edgewright.export.onnx.passes.unrolling import axes_of, take_branch, unroll

if TYPE_CHECKING:
    import onnx_ir as ir

CONTROL_FLOW = ("If", "Loop", "Scan")

ROUNDS = 16

PARAMETER_ELEMENTS = 64
"""No axes, sizes or shape of an operator has more."""

UNROLL_NODES, UNROLL_STEPS = 48, 8
"""Loops of at most so many nodes (in all steps) and steps are unrolled. tflite-micro joins ten tensors at most."""

UNROLL_OPEN_NODES = 2048
"""The same for a body with open shapes: where each step has its own (x[:i]), constants make them known."""


def fold_control_flow(model: "ir.Model") -> int:
    """If(true) → its branch; Loop(3 times) → its body three times; likewise a short Scan. Innermost first.

    What is left of Loop and Scan gets shapes, inside and out. Gives how many nodes and values were changed.
    """
    from edgewright.export.onnx.decompose import tidy

    count = 0
    for _ in range(ROUNDS):
        changed = sum(map(_inform, model.graph.subgraphs())) + sum(map(_describe, _control_flow(model)))
        changed = changed or sum(map(_fold, _control_flow(model)))  # shapes first: open ones are a reason to unroll
        if not changed:
            break
        tidy(model)  # an If in a body may hang on the number of the step
        count += changed
    return count


def _control_flow(model: "ir.Model") -> "list[ir.Node]":
    """Innermost first."""
    nodes = [node for node in model.graph.all_nodes() if node.domain in ("", "ai.onnx")]
    return [node for node in reversed(nodes) if node.op_type in CONTROL_FLOW]


def _inform(body: "ir.Graph") -> int:
    return _part_constants(body) + _own_constants(body)


def _part_constants(body: "ir.Graph") -> int:
    """{ y = Constant } → { c = Constant; y = Identity(c) }: then the constant can become an initializer."""
    import onnx_ir as ir

    held = [output for output in body.outputs if (n := output.producer()) is not None and n.op_type == "Constant"]
    for output in held:
        maker = output.producer()
        assert maker is not None
        copy = ir.node("Identity", [output], num_outputs=1, name=f"{maker.name}/given")
        body.insert_after(maker, copy)
        copy.outputs[0].type, copy.outputs[0].shape = output.type, output.shape
        for place, given in enumerate(body.outputs):
            if given is output:
                body.outputs[place] = copy.outputs[0]
        copy.outputs[0].name, output.name = output.name, f"{output.name}/constant"
    return len(held)


def _own_constants(body: "ir.Graph") -> int:
    """Axes, sizes and shapes from around a body come into it: the inference of shapes looks for them there alone."""
    count = 0
    for node in body:
        for place, value in enumerate(node.inputs):
            outer = value is not None and value.is_initializer() and value.graph is not body
            if not outer or value is None or value.const_value is None or value.dtype is None:
                continue
            if value.dtype.is_integer() and value.const_value.size <= PARAMETER_ELEMENTS:
                own = add_initializer(body, f"{node.outputs[0].name}/{value.name}", value.const_value.numpy())
                node.replace_input_with(place, own)
                count += 1
    return count


def trip_count(node: "ir.Node") -> int | None:
    """How often a Loop or Scan runs its body; None when that is computed."""
    if node.op_type == "Scan":
        states = len(node.inputs) - node.attributes["num_scan_inputs"].as_int()
        shape = shape_of(node.inputs[states])
        return None if shape is None else shape[axes_of(node, "scan_input_axes", len(node.inputs) - states)[0]]
    start = constant(node, 1)
    if start is not None and not start.item():
        return 0
    trips = constant(node, 0)
    known = len(node.inputs) < 2 or node.inputs[1] is None or start is not None
    if trips is None or not known or ends_early(node.attributes["body"].as_graph()):
        return None
    return max(0, int(trips.item()))


def ends_early(body: "ir.Graph") -> bool:
    """Whether the body of a Loop may say that a step was the last."""
    keep = body.outputs[0]
    while (maker := keep.producer()) is not None and maker.op_type == "Identity" and maker.inputs[0] is not None:
        keep = maker.inputs[0]
    stays = keep is body.inputs[1] or (keep.const_value is not None and bool(keep.const_value.numpy().all()))
    return not stays


def _fold(node: "ir.Node") -> int:
    if node.op_type == "If":
        condition = constant(node, 0)
        if condition is None:
            return 0
        branch = node.attributes["then_branch" if condition.item() else "else_branch"].as_graph()
        take_branch(node, branch)
        return 1
    trips, body = trip_count(node), node.attributes["body"].as_graph()
    nodes = (trips or 0) * sum(1 for _ in body.all_nodes())
    short = trips is not None and trips <= UNROLL_STEPS and nodes <= UNROLL_NODES
    if trips and (short or (nodes <= UNROLL_OPEN_NODES and _is_open(body))):
        unroll(node, body, trips)
        return 1
    return 0


def _is_open(body: "ir.Graph") -> bool:
    return any(shape_of(output) is None for node in body.all_nodes() for output in node.outputs if output.name)


def _describe(node: "ir.Node") -> int:
    """States keep the shape they start with (the backend checks it), rows are a step of what they are cut from."""
    if node.op_type == "If":
        return 0
    trips, body = trip_count(node), node.attributes["body"].as_graph()
    first = 2 if node.op_type == "Loop" else 0
    sequences = node.attributes["num_scan_inputs"].as_int() if node.op_type == "Scan" else 0
    states = len(body.inputs) - first - sequences
    count = 0
    for number, inside in enumerate(body.inputs[first : first + states]):
        count += _shape(inside, node.inputs[first + number], shape_of(node.inputs[first + number]))
        if number < len(node.outputs):
            count += _shape(node.outputs[number], inside, shape_of(inside))
    for number, axis in enumerate(axes_of(node, "scan_input_axes", sequences)):
        cut = node.inputs[states + number]
        shape = shape_of(cut)
        if shape is not None:
            count += _shape(body.inputs[states + number], cut, tuple(np.delete(shape, axis).tolist()))
    stacked = list(zip(node.outputs[states:], body.outputs[first // 2 + states :]))
    for (output, row), axis in zip(stacked, axes_of(node, "scan_output_axes", len(stacked))):
        shape = shape_of(row)
        if shape is not None and trips is not None and output.name:
            count += _shape(output, row, tuple(np.insert(shape, axis % (len(shape) + 1), trips).tolist()))
    return count


def _shape(value: "ir.Value", like: "ir.Value | None", shape: tuple[int, ...] | None) -> int:
    """Give a value this shape, and the element type of another, if it has none."""
    import onnx_ir as ir

    if shape is None or shape_of(value) is not None or like is None:
        return 0
    value.shape, value.type = ir.Shape(shape), value.type or like.type
    return 1
