"""Rows that are counted only when a model runs: what NonMaxSuppression gives, and all that is made of it."""

from typing import TYPE_CHECKING

from edgewright.export.onnx.graph import shape_of
from edgewright.runtimes.contract import Contract, TensorInfo

if TYPE_CHECKING:
    import onnx_ir as ir

COUNTING = "NonMaxSuppression"


def counting_nodes(graph: "ir.Graph") -> "list[ir.Node]":
    """The nodes of the main graph whose number of rows depends on values."""
    return [node for node in graph if node.op_type == COUNTING and node.domain in ("", "ai.onnx")]


def followers(graph: "ir.Graph") -> "list[ir.Node]":
    """The nodes that read such rows, or what was made of them; first to last."""
    made = {output for node in counting_nodes(graph) for output in node.outputs}
    found: list[ir.Node] = []
    for node in graph:
        if not made.isdisjoint(node.inputs):
            found.append(node)
            made.update(node.outputs)
    return found


def counted(graph: "ir.Graph") -> "list[ir.Value]":
    """The values that may have a number of rows that is not known ahead."""
    return [output for node in (*counting_nodes(graph), *followers(graph)) for output in node.outputs]


def before_counting(model: "ir.Model", contract: Contract) -> "tuple[ir.Model, Contract]":
    """A copy that gives what NonMaxSuppression reads instead of the rows that it counts: where two graphs are compared
    value by value. Itself where none is an output."""
    counted = counted_names(model.graph)
    kept = tuple(info for info in contract.outputs if info.name not in counted)
    if len(kept) == len(contract.outputs):
        return model, contract
    copy = model.clone()
    read = {value for node in counting_nodes(copy.graph) for value in node.inputs[:2] if value is not None}
    made = sorted((value for value in read if value.producer() is not None), key=lambda value: str(value.name))
    copy.graph.outputs[:] = [value for value in copy.graph.outputs if value.name not in counted]
    new = [value for value in made if not value.is_graph_output()]
    copy.graph.outputs.extend(new)
    return copy, Contract(contract.inputs, (*kept, *(TensorInfo(str(v.name), shape_of(v) or ()) for v in new)))


def counted_names(graph: "ir.Graph") -> set[str]:
    return {str(value.name) for value in counted(graph)}
