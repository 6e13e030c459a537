"""Small steps on an onnx-ir graph: read a constant, add one, swap a node for others."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx_ir as ir


def nodes_of(model: "ir.Model", *op_types: str) -> Iterator["ir.Node"]:
    """The nodes of the main graph with these standard operators, first to last; the graph may change meanwhile."""
    for node in list(model.graph):
        if node.graph is not None and node.domain in ("", "ai.onnx") and (not op_types or node.op_type in op_types):
            yield node


def constant(node: "ir.Node", index: int) -> NDArray[Any] | None:
    """The value of a constant input; None when it is absent or computed."""
    value = node.inputs[index] if index < len(node.inputs) else None
    tensor = None if value is None or value.is_graph_input() else value.const_value
    return None if tensor is None else tensor.numpy()


def integers(node: "ir.Node", name: str, default: Sequence[int]) -> tuple[int, ...]:
    """An attribute that is a list of integers."""
    return tuple(node.attributes.get_ints(name, default) or default)


def shape_of(value: "ir.Value | None") -> tuple[int, ...] | None:
    """The static shape; None when a length or the rank is unknown."""
    if value is None or value.shape is None or not all(isinstance(n, int) for n in value.shape):
        return None
    return tuple(int(n) for n in value.shape)  # type: ignore[arg-type]


def add_initializer(graph: "ir.Graph", name: str, array: NDArray[Any]) -> "ir.Value":
    """A new initializer; its name gets a suffix while it is taken."""
    import onnx_ir as ir

    base, count = name, 0
    while name in graph.initializers:
        count += 1
        name = f"{base}_{count}"
    tensor = ir.tensor(np.ascontiguousarray(array).reshape(array.shape), name=name)
    value = ir.val(name, const_value=tensor)
    graph.register_initializer(value)
    return value


def make(
    op_type: str,
    inputs: "Sequence[ir.Value | None]",
    attributes: Mapping[str, Any] | None = None,
    name: str | None = None,
) -> "ir.Node":
    """A node with one output, not yet in a graph."""
    import onnx_ir as ir

    return ir.node(op_type, inputs, attributes=dict(attributes or {}), num_outputs=1, name=name)


def replace(old: "ir.Node", *new: "ir.Node") -> None:
    """Put `new` where `old` was; the last one's output takes the name, type and shape of `old`'s."""
    import onnx_ir as ir

    graph = old.graph
    assert graph is not None
    new[-1].name = new[-1].name or old.name
    ir.convenience.replace_nodes_and_values(graph, old, [old], new, old.outputs[:1], new[-1].outputs[:1])


def drop_identities(model: "ir.Model") -> None:
    """Let readers read past each Identity, but for one that ties an output to another end of the graph.

    The library's pass gives two outputs one name where an Identity lies between them.
    """
    import onnx_ir as ir

    for node in nodes_of(model, "Identity"):
        x, y = node.inputs[0], node.outputs[0]
        if x is None or (y.is_graph_output() and (x.is_graph_input() or x.is_graph_output() or x.is_initializer())):
            continue
        name = y.name if y.is_graph_output() else x.name
        x.shape, x.type = x.shape or y.shape, x.type or y.type
        ir.convenience.replace_all_uses_with(y, x, replace_graph_outputs=True)
        assert node.graph is not None
        node.graph.remove(node, safe=True)
        x.name = name


def bypass(node: "ir.Node") -> bool:
    """Let the readers of `node` read its input; False (and nothing changes) when its output is a graph output."""
    source, output = node.inputs[0], node.outputs[0]
    assert source is not None
    assert node.graph is not None
    if output.is_graph_output():
        return False
    output.replace_all_uses_with(source)
    node.graph.remove(node, safe=True)
    return True
