"""The group normalization that exporters spell as an instance normalization of reshaped groups."""

from typing import TYPE_CHECKING

import numpy as np

from edgewright.export.onnx.graph import add_initializer, constant, make, nodes_of, replace, shape_of

if TYPE_CHECKING:
    import onnx_ir as ir


def fuse_group_norm(model: "ir.Model") -> int:
    """x[N,C,…] → Reshape[N,G,-1] → InstanceNormalization → Reshape[N,C,…] becomes GroupNormalization(x)."""
    from edgewright.export.onnx.passes.dead_code import remove_dead_code

    fused = sum(_fuse(node) for node in nodes_of(model, "InstanceNormalization"))
    if fused:
        remove_dead_code(model)
    return fused


def _fuse(node: "ir.Node") -> bool:
    users = [use.node for use in node.outputs[0].uses()]
    above = node.inputs[0].producer() if node.inputs[0] is not None else None
    if above is None or above.op_type != "Reshape" or [user.op_type for user in users] != ["Reshape"]:
        return False
    x, shape, grouped = above.inputs[0], shape_of(above.inputs[0]), shape_of(node.inputs[0])
    scale, shift = constant(node, 1), constant(node, 2)
    if shape is None or grouped is None or scale is None or shift is None or node.outputs[0].is_graph_output():
        return False
    if shape_of(users[0].outputs[0]) != shape or len(shape) < 3 or shape[0] != grouped[0] or shape[1] % grouped[1]:
        return False
    graph, name, members = node.graph, users[0].outputs[0].name, shape[1] // grouped[1]
    assert graph is not None
    values = [
        add_initializer(graph, f"{name}_{kind}", np.repeat(array, members))
        for kind, array in (("scale", scale), ("shift", shift))
    ]
    attributes = {"num_groups": grouped[1], "epsilon": node.attributes.get_float("epsilon", 1e-5)}
    replace(users[0], make("GroupNormalization", [x, *values], attributes, name=node.name))
    return True
