"""Chains of operators that only rename the axes become one, or none."""

from typing import TYPE_CHECKING

import numpy as np

from edgewright.export.onnx.graph import add_initializer, bypass, constant, make, nodes_of, replace, shape_of

if TYPE_CHECKING:
    import onnx_ir as ir

ORDER_KEEPING = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")


def merge_reshapes(model: "ir.Model") -> int:
    """Squeeze → Reshape becomes Reshape(constant shape), or Flatten where it is one; x → Reshape(same shape) → x."""
    return sum(_merge(node) for node in nodes_of(model, *ORDER_KEEPING))


def _merge(node: "ir.Node") -> bool:
    source, target = node.inputs[0], shape_of(node.outputs[0])
    while source is not None and (above := source.producer()) is not None and above.op_type in ORDER_KEEPING:
        source = above.inputs[0]
    start = shape_of(source)
    if source is None or start is None or target is None:
        return False
    chained = source is not node.inputs[0]
    if start == target and not node.outputs[0].is_graph_output():
        node.replace_input_with(0, source)
        return bypass(node)
    if start and target == (start[0], int(np.prod(start[1:]))):
        if node.op_type == "Flatten" and not chained:
            return False
        replace(node, make("Flatten", [source], {"axis": 1}))
        return True
    if not chained and (node.op_type != "Reshape" or _is_explicit(node, target)):
        return False
    assert node.graph is not None
    shape = add_initializer(node.graph, f"{node.outputs[0].name}_shape", np.array(target, np.int64))
    replace(node, make("Reshape", [source, shape]))
    return True


def _is_explicit(node: "ir.Node", target: tuple[int, ...]) -> bool:
    shape = constant(node, 1)
    return shape is not None and tuple(shape) == target
