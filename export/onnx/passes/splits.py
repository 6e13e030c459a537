"""A Split is as many Slices: one operator a piece, which the rest of the road knows to move values only."""

from typing import TYPE_CHECKING

import numpy as np

from edgewright.export.onnx.graph import add_initializer, make, nodes_of, shape_of

if TYPE_CHECKING:
    import onnx_ir as ir


def slice_splits(model: "ir.Model") -> int:
    """a, b = Split(x) becomes a = Slice(x), b = Slice(x); pieces that nobody reads go. Needs static shapes."""
    return sum(_slice(node) for node in nodes_of(model, "Split"))


def _slice(node: "ir.Node") -> bool:
    import onnx_ir as ir

    graph, shapes = node.graph, [shape_of(output) for output in node.outputs]
    if graph is None or any(shape is None for shape in shapes):
        return False
    axis, start = node.attributes.get_int("axis", 0), 0
    for output, shape in zip(node.outputs, shapes):
        end = start + shape[axis]  # type: ignore[index]
        if output.uses() or output.is_graph_output():
            bounds = {"starts": start, "ends": end, "axes": axis}
            constants = [add_initializer(graph, f"{output.name}_{k}", np.array([v])) for k, v in bounds.items()]
            piece = make("Slice", [node.inputs[0], *constants], name=f"{node.name}_{output.name}")
            made, name = piece.outputs[0], output.name
            made.type, made.shape = output.type, output.shape
            graph.insert_before(node, piece)
            ir.convenience.replace_all_uses_with(output, made, replace_graph_outputs=True)
            output.name, made.name = f"{name}_split", name
        start = end
    graph.remove(node, safe=True)
    return True
