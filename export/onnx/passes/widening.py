"""Loops over small cells, where the loop itself costs as much as the arithmetic of a step."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgewright.export.onnx.graph import constant, shape_of
from edgewright.export.onnx.passes.control_flow import CONTROL_FLOW, trip_count
from edgewright.export.onnx.passes.unrolling import Writer, axes_of, finish, unroll

if TYPE_CHECKING:
    import onnx_ir as ir

STEPS = 4
WEIGHT_BYTES = 2**18
"""What the steps of one pass read. A runtime packs weights for each operator that reads them: beyond a small core's
cache a second copy costs more than the loop (GRU with 128 units: 0.82 ms in a loop, 2.4 ms unrolled)."""


def widen_scans(model: "ir.Model") -> int:
    """Scan(T){ step } → the T % 4 first steps; Scan(T / 4){ step step step step }."""
    scans = [node for node in model.graph.all_nodes() if node.op_type == "Scan" and node.domain in ("", "ai.onnx")]
    return sum(map(_widen, scans))


def _widen(node: "ir.Node") -> bool:
    body, trips = node.attributes["body"].as_graph(), trip_count(node)
    steps = min(STEPS, WEIGHT_BYTES // max(1, _weight_bytes(body)))
    plain = all(inner.op_type not in CONTROL_FLOW for inner in body)
    if trips is None or steps < 2 or trips < 2 * steps or not plain or not _runs_one_way(node):
        return False
    if left := trips % steps:
        first, node = _parted(node, trips, left)
        unroll(first, first.attributes["body"].as_graph(), left)
    wide = _nested(node, trips // steps, steps)
    inner = next(iter(wide.attributes["body"].as_graph()))
    unroll(inner, inner.attributes["body"].as_graph(), steps)
    _join_rows(wide)
    return True


def _parted(node: "ir.Node", trips: int, first: int) -> "tuple[ir.Node, ir.Node]":
    """Scan(T) → Scan(first), Scan(T - first)."""
    write, sequences = Writer(node), node.attributes["num_scan_inputs"].as_int()
    back = any(axes_of(node, "scan_input_directions", sequences))
    states: list[ir.Value | None] = [*node.inputs[:-sequences]]
    made: list[ir.Node] = []
    for start, length in ((0, first), (first, trips - first)):
        begin = trips - start - length if back else start
        limits = [write.constant(np.array([n], np.int64)) for n in (begin, begin + length, 0)]
        rows = [write("Slice", [sequence, *limits]) for sequence in node.inputs[-sequences:]]
        made.append(_scan(write, node, [*states, *rows], node.attributes["body"].as_graph().clone(True)))
        states = list(made[-1].outputs[: len(states)])
    parts = [scan.outputs[len(states) :] for scan in (made[::-1] if back else made)]
    finish(node, write, [*made[1].outputs[: len(states)], *(write("Concat", pair, axis=0) for pair in zip(*parts))])
    return made[0], made[1]


def _nested(node: "ir.Node", passes: int, steps: int) -> "ir.Node":
    """Scan(T) → Scan(passes){ Scan(steps) }; gives the outer one."""
    import onnx_ir as ir

    write, sequences = Writer(node), node.attributes["num_scan_inputs"].as_int()
    body, held = node.attributes["body"].as_graph(), len(node.inputs) - sequences
    groups = [_grouped(write, rows, (passes, steps), row) for rows, row in zip(node.inputs[held:], body.inputs[held:])]
    inputs = []
    for number, value in enumerate(body.inputs):
        shape = [*([steps] if number >= held else []), *(shape_of(value) or ())]
        inputs.append(ir.Value(name=f"{write.prefix}/pass/{number}", shape=ir.Shape(shape), type=value.type))
    inner = _scan_of(node, inputs, body.clone(True))
    inner.name = f"{write.prefix}/steps"
    for number, output in enumerate(inner.outputs):
        output.name = f"{inner.name}/{number}"
    wide = _scan(write, node, [*node.inputs[:held], *groups], ir.Graph(inputs, inner.outputs, nodes=[inner]))
    stacked = zip(wide.outputs[held:], body.outputs[held:])
    rows = [_grouped(write, groups, (passes * steps,), row) for groups, row in stacked]
    finish(node, write, [*wide.outputs[:held], *rows])
    return wide


def _join_rows(wide: "ir.Node") -> None:
    """Reshape(passes, steps, n, …) → Scan{ Split → Squeeze } ⇒ Reshape(passes, steps · n, …) → Scan{ Split }."""
    body = wide.attributes["body"].as_graph()
    for split in [node for node in body if node.op_type == "Split" and node.inputs[0] in body.inputs]:
        rows, squeezed = body.inputs[body.inputs.index(split.inputs[0])], _readers(split)
        outside, shape = wide.inputs[body.inputs.index(rows)], shape_of(rows) or ()
        reshape = None if outside is None or len(outside.uses()) != 1 else outside.producer()
        grouped = None if reshape is None or reshape.op_type != "Reshape" else constant(reshape, 1)
        if len(shape) > 1 and {node.op_type for node in squeezed} == {"Squeeze"} and grouped is not None:
            lengths = np.array([grouped[0], shape[0] * shape[1], *shape[2:]], np.int64)
            _join(wide, outside, rows, lengths)
            for node in squeezed:
                _drop(node)


def _join(wide: "ir.Node", outside: "ir.Value | None", rows: "ir.Value", lengths: "NDArray[np.int64]") -> None:
    """Two axes of the rows become one, inside and outside of the loop."""
    import onnx_ir as ir

    reshape = None if outside is None else outside.producer()
    assert outside is not None and reshape is not None
    outside.shape, rows.shape = ir.Shape(lengths.tolist()), ir.Shape(lengths[1:].tolist())
    reshape.replace_input_with(1, Writer(wide).constant(lengths))


def _drop(node: "ir.Node") -> None:
    """What it reads takes the place, and the shape, of what it gives."""
    import onnx_ir as ir

    part, given = node.inputs[0], node.outputs[0]
    assert part is not None and node.graph is not None
    part.shape, part.type = given.shape, given.type
    ir.convenience.replace_all_uses_with(given, part)
    node.graph.remove(node, safe=True)


def _readers(node: "ir.Node") -> "list[ir.Node]":
    return [use.node for output in node.outputs for use in output.uses()]


def _scan(write: Writer, like: "ir.Node", inputs: "Sequence[ir.Value | None]", body: "ir.Graph") -> "ir.Node":
    made = _scan_of(like, inputs, body)
    write.add(made)
    return made


def _scan_of(like: "ir.Node", inputs: "Sequence[ir.Value | None]", body: "ir.Graph") -> "ir.Node":
    """A Scan with the attributes of another, not yet in a graph."""
    import onnx_ir as ir

    attributes = {**like.attributes, "body": ir.AttrGraph("body", body)}
    return ir.node("Scan", inputs, attributes=attributes, num_outputs=len(body.outputs))


def _grouped(write: Writer, rows: "ir.Value | None", lengths: tuple[int, ...], row: "ir.Value") -> "ir.Value":
    """The rows of a sequence by `lengths`, each of the shape of `row`."""
    return write("Reshape", [rows, write.constant(np.array([*lengths, *(shape_of(row) or ())], np.int64))])


def _weight_bytes(body: "ir.Graph") -> int:
    """Of what a step multiplies with."""
    read = {value for node in body.all_nodes() for value in node.inputs if value is not None}
    arrays = [value.const_value for value in read if value.const_value is not None and len(value.const_value.shape) > 1]
    return sum(array.nbytes for array in arrays)


def _runs_one_way(node: "ir.Node") -> bool:
    """Whether all sequences have their steps along axis 0, in one direction, and the shapes of a step are known."""
    body, read = node.attributes["body"].as_graph(), node.attributes["num_scan_inputs"].as_int()
    made = len(body.outputs) - (len(node.inputs) - read)
    axes = axes_of(node, "scan_input_axes", read) + axes_of(node, "scan_output_axes", made)
    ways = axes_of(node, "scan_input_directions", read) + axes_of(node, "scan_output_directions", made)
    known = all(shape_of(value) is not None for value in (*body.inputs, *body.outputs))
    return known and not any(axes) and len(set(ways)) == 1
