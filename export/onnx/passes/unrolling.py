"""The bodies of If, Loop and Scan in the place of their operators, once or step by step."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgewright.export.onnx.graph import add_initializer, shape_of

if TYPE_CHECKING:
    import onnx_ir as ir


class Writer:
    """New nodes before the one that they replace, under names of their own."""

    def __init__(self, node: "ir.Node") -> None:
        assert node.graph is not None
        self.node, self.graph = node, node.graph
        self.prefix = node.name or "_".join(str(output.name) for output in node.outputs)
        self.count = 0

    def __call__(self, op_type: str, inputs: "Sequence[ir.Value | None]", **given: int) -> "ir.Value":
        import onnx_ir as ir

        made = ir.node(op_type, inputs, attributes=given, num_outputs=1)
        self.add(made)
        return made.outputs[0]

    def add(self, node: "ir.Node") -> None:
        self.count += 1
        node.name = f"{self.prefix}/{node.op_type}_{self.count}"
        for number, output in enumerate(node.outputs):
            output.name = f"{node.name}_{number}" if output.name != "" else ""
        self.graph.insert_before(self.node, node)

    def constant(self, array: "np.typing.ArrayLike") -> "ir.Value":
        return add_initializer(self.graph, f"{self.prefix}/constant_{self.count}", np.asarray(array))

    def inline(self, body: "ir.Graph", arguments: "Sequence[ir.Value]") -> "list[ir.Value]":
        """A copy of an inner graph; gives the values of its outputs."""
        import onnx_ir as ir

        copy = body.clone(allow_outer_scope_values=True)
        outputs = list(copy.outputs)
        copy.outputs.clear()
        for formal, actual in zip(copy.inputs, arguments, strict=True):
            ir.convenience.replace_all_uses_with(formal, actual)
        given = dict(zip(copy.inputs, arguments, strict=True))
        for value in list(copy.initializers.values()):
            assert value.const_value is not None
            moved = self.constant(value.const_value.numpy())
            ir.convenience.replace_all_uses_with(value, moved)
            given[value] = moved
        for node in copy.all_nodes():
            for output in node.outputs:
                output.shape = None  # a state may have another in each step
        nodes = list(copy)
        copy.remove(nodes)
        for node in nodes:
            self.add(node)
        return [given.get(value, value) for value in outputs]


def take_branch(node: "ir.Node", branch: "ir.Graph") -> None:
    """If(c) → the nodes of one branch."""
    write = Writer(node)
    finish(node, write, write.inline(branch, []))


def unroll(node: "ir.Node", body: "ir.Graph", trips: int) -> None:
    """Loop or Scan → its body, so many times."""
    (_unroll_scan if node.op_type == "Scan" else _unroll_loop)(node, body, trips)


def finish(node: "ir.Node", write: Writer, results: "Sequence[ir.Value]") -> None:
    """The results take the place of what the node gave."""
    import onnx_ir as ir

    for old, new in zip(node.outputs, results):
        if not old.name:
            continue
        made = new
        if new.producer() is None or new.graph is not node.graph or new.is_graph_output() or new in node.inputs:
            made = write("Identity", [new])
        made.type = made.type or old.type
        ir.convenience.replace_all_uses_with(old, made, replace_graph_outputs=True)
        made.name = old.name
    write.graph.remove(node, safe=True)


def _unroll_loop(node: "ir.Node", body: "ir.Graph", trips: int) -> None:
    write = Writer(node)
    states = [value for value in node.inputs[2:] if value is not None]
    keep = write.constant(np.ones(shape_of(body.inputs[1]) or (), np.bool_))
    rows: list[list[ir.Value]] = []
    for step in range(trips):
        number = write.constant(np.full(shape_of(body.inputs[0]) or (), step, np.int64))
        _, *results = write.inline(body, [number, keep, *states])
        states, made = results[: len(states)], results[len(states) :]
        rows.append(made)
    stacked = [_stack(write, column, 0) for column in zip(*rows)]
    finish(node, write, [*states, *stacked])


def _unroll_scan(node: "ir.Node", body: "ir.Graph", trips: int) -> None:
    write = Writer(node)
    count = node.attributes["num_scan_inputs"].as_int()
    values = [value for value in node.inputs if value is not None]
    states, sequences = values[:-count], values[-count:]
    axes, backwards = axes_of(node, "scan_input_axes", count), axes_of(node, "scan_input_directions", count)
    rows: list[list[ir.Value]] = []
    slices = [_rows(write, sequence, axis, trips) for sequence, axis in zip(sequences, axes)]
    for step in range(trips):
        here = [each[-1 - step] if back else each[step] for each, back in zip(slices, backwards)]
        results = write.inline(body, [*states, *here])
        states, made = results[: len(states)], results[len(states) :]
        rows.append(made)
    columns = list(zip(*rows))
    axes, backwards = (axes_of(node, f"scan_output_{kind}", len(columns)) for kind in ("axes", "directions"))
    stacked = [
        _stack(write, column[::-1] if back else column, axis) for column, axis, back in zip(columns, axes, backwards)
    ]
    finish(node, write, [*states, *stacked])


def _rows(write: Writer, sequence: "ir.Value", axis: int, trips: int) -> "list[ir.Value]":
    import onnx_ir as ir

    parts = [sequence]
    if trips > 1:
        split = ir.node("Split", [sequence], attributes={"axis": axis, "num_outputs": trips}, num_outputs=trips)
        write.add(split)
        parts = list(split.outputs)
    where = write.constant(np.array([axis], np.int64))
    return [write("Squeeze", [part, where]) for part in parts]


def _stack(write: Writer, rows: "Sequence[ir.Value]", axis: int) -> "ir.Value":
    where = write.constant(np.array([axis], np.int64))
    apart = [write("Unsqueeze", [row, where]) for row in rows]
    return apart[0] if len(apart) == 1 else write("Concat", apart, axis=axis)


def axes_of(node: "ir.Node", name: str, count: int) -> list[int]:
    """An attribute of Scan with a number for each sequence; zeros where it is not given."""
    return list(node.attributes.get_ints(name, ()) or [0] * count)
