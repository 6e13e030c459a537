"""Matrix products as FULLY_CONNECTED computes them: x · W + c over the last axis of an x of any rank.

With more than two axes such a Gemm is no ONNX: this is for a graph that is about to be lowered.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgewright.export.onnx.graph import add_initializer, constant, make, replace, shape_of
from edgewright.export.tflite.layout import is_constant

if TYPE_CHECKING:
    import onnx_ir as ir


def fuse_biases(graph: "ir.Graph", activations: "dict[ir.Node, str]", int8: "Collection[ir.Node]") -> None:
    """MatMul(x, W) → Add(c) ⇒ Gemm(x, W, c), with the activation of the sum; operators in int8 stay as they are."""
    for node in list(graph):
        uses = list(node.outputs[0].uses())
        if node.op_type != "MatMul" or node in int8 or len(uses) != 1 or node.outputs[0].is_graph_output():
            continue
        user, weight = uses[0].node, shape_of(node.inputs[1])
        if user.op_type != "Add" or weight is None or len(weight) != 2 or not is_constant(node.inputs[1]):
            continue
        bias = constant(user, 1 - uses[0].idx)
        if bias is None or bias.dtype != np.float32 or bias.size != weight[1] or bias.shape[-1] != weight[1]:
            continue
        if shape_of(user.outputs[0]) == shape_of(node.outputs[0]):
            row = add_initializer(graph, f"{user.name}/bias", bias.reshape(-1))
            made = make("Gemm", [*node.inputs, row], name=node.name)
            if user in activations:
                activations[made] = activations.pop(user)
            replace(user, made)
            graph.remove(node, safe=True)


def fold_affine(graph: "ir.Graph", int8: "Collection[ir.Node]") -> None:
    """LayerNormalization(x, s, b) → Gemm(W, c) ⇒ LayerNormalization(x, 1) → Gemm(s·W, c + b·W), where nothing but
    such products reads it."""
    for node in list(graph):
        if node.op_type != "LayerNormalization" or len(node.outputs) > 1 or node.outputs[0].is_graph_output():
            continue
        scale, shift, uses = constant(node, 1), constant(node, 2), list(node.outputs[0].uses())
        width = (shape_of(node.inputs[0]) or (0,))[-1:]
        if scale is None or scale.shape != width or (shift is None and len(node.inputs) > 2):
            continue
        if not uses or not all(use.idx == 0 and use.node not in int8 and is_linear(use.node) for use in uses):
            continue
        for use in uses:
            rescale(use.node, scale, np.zeros_like(scale) if shift is None else shift)
        node.replace_input_with(1, add_initializer(graph, f"{node.name}/one", np.ones_like(scale)))
        if len(node.inputs) > 2:
            node.replace_input_with(2, None)


def is_linear(node: "ir.Node") -> bool:
    """Whether it is x · W + c with float constants."""
    plain = node.op_type == "Gemm" and not node.attributes.get_int("transA", 0)
    scaled = [node.attributes.get_float(name, 1.0) for name in ("alpha", "beta")]
    arrays = [constant(node, 1), constant(node, 2)]
    return plain and scaled == [1.0, 1.0] and all(array is not None and array.dtype == np.float32 for array in arrays)


def rescale(gemm: "ir.Node", scale: NDArray[np.float32], shift: NDArray[np.float32] | None = None) -> None:
    """x · W + c becomes (s·x + b) · W + c, or s · (x · W + c) with one s and no b."""
    weight, bias, by_row = constant(gemm, 1), constant(gemm, 2), gemm.attributes.get_int("transB", 0)
    assert weight is not None
    assert bias is not None
    assert gemm.graph is not None
    columns = (weight.T if by_row else weight).astype(np.float64)
    scaled = columns * scale[:, None]
    moved = bias * scale if shift is None else bias + shift @ columns
    for index, array in ((1, scaled.T if by_row else scaled), (2, moved)):
        value = add_initializer(gemm.graph, f"{gemm.name}/rescaled", array.astype(np.float32))
        gemm.replace_input_with(index, value)
