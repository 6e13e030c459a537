"""What reads the last step of a recurrent layer reads its last state."""

from math import prod
from typing import TYPE_CHECKING

import numpy as np

from edgewright.export.onnx.graph import add_initializer, constant, make, nodes_of, replace, shape_of

if TYPE_CHECKING:
    import onnx_ir as ir

RENAMING = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")


def read_last_state(model: "ir.Model") -> int:
    """LSTM → Y → Y[-1] becomes LSTM → Y_h, for forward layers over whole sequences: no step need be kept then.

    Between them, axes of length 1 may come and go, and time may change its place.
    """
    return sum(_read_state(node) for node in nodes_of(model, "LSTM", "GRU", "RNN"))


def _read_state(node: "ir.Node") -> int:
    shape = shape_of(node.outputs[0])
    lengths = node.inputs[4] if len(node.inputs) > 4 else None
    forward = node.attributes.get_string("direction", "forward") == "forward"
    if shape is None or shape[0] < 2 or not forward or lengths is not None or node.attributes.get_int("layout"):
        return 0
    picks = _picks(node.outputs[0], 0, shape[0])
    for pick in picks:
        target = shape_of(pick.outputs[0])
        assert target is not None
        assert pick.graph is not None
        wanted = add_initializer(pick.graph, f"{pick.outputs[0].name}_shape", np.array(target, np.int64))
        replace(pick, make("Reshape", [_state(node, shape), wanted]))
    return len(picks)


def _state(node: "ir.Node", shape: tuple[int, ...]) -> "ir.Value":
    """Y_h, named and described if nobody read it yet."""
    import onnx_ir as ir

    if len(node.outputs) < 2:
        node.resize_outputs(2)
    state = node.outputs[1]
    state.name = state.name or f"{node.outputs[0].name}_last"
    state.shape, state.type = ir.Shape(shape[1:]), node.outputs[0].type
    return state


def _picks(value: "ir.Value", time: int, steps: int) -> "list[ir.Node]":
    """The nodes that cut the last step out of `value`, whose axis `time` counts steps."""
    found: list[ir.Node] = []
    for node, index in value.uses():
        before, after = shape_of(value), shape_of(node.outputs[0])
        if index or before is None or after is None:
            continue
        if _is_last(node, time, steps):
            found.append(node)
        elif node.op_type in RENAMING:
            places = [n for n in range(len(after)) if after[n] == steps and prod(after[:n]) == prod(before[:time])]
            found += _picks(node.outputs[0], places[0], steps) if places else []
        elif node.op_type == "Transpose":
            order = list(node.attributes.get_ints("perm", ()) or range(len(before))[::-1])
            rest = [axis for axis in order if axis != time and before[axis] != 1]
            found += _picks(node.outputs[0], order.index(time), steps) if rest == sorted(rest) else []
    return found


def _is_last(node: "ir.Node", time: int, steps: int) -> bool:
    rank = len(shape_of(node.inputs[0]) or ())
    if node.op_type == "Gather":
        index = constant(node, 1)
        at_time = node.attributes.get_int("axis", 0) % rank == time
        return at_time and index is not None and index.size == 1 and index.item() in (-1, steps - 1)
    if node.op_type != "Slice":
        return False
    starts, ends, axes, strides = (constant(node, place) for place in (1, 2, 3, 4))
    if starts is None or ends is None or axes is None or starts.size != 1:
        return False
    if len(node.inputs) > 4 and (strides is None or strides.item() < 1):
        return False
    return axes.item() % rank == time and starts.item() in (-1, steps - 1) and ends.item() >= steps
