"""A linear layer is one Gemm with weights [out, in]."""

from typing import TYPE_CHECKING

import numpy as np

from edgewright.export.onnx.graph import add_initializer, constant, make, nodes_of, replace, shape_of

if TYPE_CHECKING:
    import onnx_ir as ir


def unify_linear(model: "ir.Model") -> int:
    """MatMul(x, W) → Add(b) becomes Gemm(x, Wᵀ, b, transB=1) at rank 2; a Gemm of constants takes the same form."""
    count = sum(_from_matmul(node) for node in nodes_of(model, "MatMul"))
    count += sum(_take_bias(node) for node in nodes_of(model, "Add"))
    return count + sum(_normalize(node) for node in nodes_of(model, "Gemm"))


def _from_matmul(node: "ir.Node") -> bool:
    if len(shape_of(node.inputs[0]) or ()) != 2 or constant(node, 1) is None or len(constant(node, 1).shape) != 2:  # type: ignore[union-attr]
        return False
    replace(node, make("Gemm", node.inputs))
    return True


def _take_bias(node: "ir.Node") -> bool:
    """Gemm(x, W) + b, where the sum is the only reader."""
    for index in (0, 1):
        value, bias = node.inputs[index], constant(node, 1 - index)
        gemm = None if value is None else value.producer()
        if gemm is None or gemm.op_type != "Gemm" or bias is None or len(gemm.inputs) != 2:
            continue
        width = _width(gemm)
        if width is None:
            continue
        if len(gemm.outputs[0].uses()) == 1 and not gemm.outputs[0].is_graph_output() and _is_row(bias.shape, width):
            attributes = {key: value for key, value in gemm.attributes.items() if key != "beta"}
            replace(node, make("Gemm", [*gemm.inputs, node.inputs[1 - index]], attributes, name=gemm.name))
            assert gemm.graph is not None
            gemm.graph.remove(gemm, safe=True)
            return True
    return False


def _normalize(node: "ir.Node") -> bool:
    """alpha, beta, transB and the bias shape go into the constants."""
    weight, bias, graph = constant(node, 1), constant(node, 2), node.graph
    width = _width(node)
    has_bias = len(node.inputs) > 2 and node.inputs[2] is not None
    if weight is None or width is None or graph is None or node.attributes.get_int("transA", 0) != 0:
        return False
    if has_bias and (bias is None or not _is_row(bias.shape, width)):
        return False
    alpha, beta = node.attributes.get_float("alpha", 1.0), node.attributes.get_float("beta", 1.0)
    transposed = node.attributes.get_int("transB", 0)
    if transposed and alpha == beta == 1.0 and (bias is None or bias.shape == (width,)):
        return False
    inputs = [node.inputs[0], node.inputs[1]]
    if not transposed or alpha != 1.0:
        matrix = (weight if transposed else weight.T) * np.asarray(alpha, weight.dtype)
        inputs[1] = add_initializer(graph, f"{node.inputs[1].name}_rows", matrix)  # type: ignore[union-attr]
    if bias is not None:
        row = np.broadcast_to(bias * np.asarray(beta, bias.dtype), (1, width))[0]
        inputs.append(add_initializer(graph, f"{node.inputs[2].name}_row", row))  # type: ignore[union-attr]
    replace(node, make("Gemm", inputs, {"transB": 1}))
    return True


def _width(gemm: "ir.Node") -> int | None:
    """Columns of the product."""
    weight = shape_of(gemm.inputs[1])
    return None if weight is None else weight[0 if gemm.attributes.get_int("transB", 0) else 1]


def _is_row(shape: tuple[int, ...], width: int) -> bool:
    """Whether an array adds one value to each column of [n, width]."""
    return len(shape) <= 2 and shape[-1:] in ((), (1,), (width,)) and shape[:-1] in ((), (1,))
