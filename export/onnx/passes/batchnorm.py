"""Batch normalization with fixed statistics is an affine map, part of the layer before it where there is one."""

from typing import TYPE_CHECKING

import numpy as np

from edgewright.export.onnx.graph import add_initializer, constant, make, nodes_of, replace, shape_of

if TYPE_CHECKING:
    import onnx_ir as ir


def fold_batchnorm(model: "ir.Model") -> int:
    """Conv → BatchNormalization becomes Conv (ConvTranspose and Gemm alike); a lone BatchNormalization Mul → Add."""
    from onnxscript.rewriter import RewriteRuleSet
    from onnxscript.rewriter.rules import common as rules

    folding = [
        rules.fuse_batchnorm_into_conv_rule,
        rules.fuse_batchnorm_into_conv_transpose_rule,
        rules.fuse_batchnorm_into_gemm_rule,
    ]
    folded = RewriteRuleSet(folding).apply_to_model(model)
    return folded + sum(_expand(node) for node in nodes_of(model, "BatchNormalization"))


def _expand(node: "ir.Node") -> bool:
    x, graph, shape = node.inputs[0], node.graph, shape_of(node.inputs[0])
    gamma, beta, mean, variance = (constant(node, index) for index in range(1, 5))
    if graph is None or shape is None or node.attributes.get_int("training_mode", 0) != 0:
        return False
    if gamma is None or beta is None or mean is None or variance is None:
        return False
    scale = gamma / np.sqrt(variance + np.float32(node.attributes.get_float("epsilon", 1e-5)))
    spread = (-1, *(1,) * (len(shape) - 2))
    name = node.outputs[0].name
    factor = add_initializer(graph, f"{name}_scale", scale.astype(gamma.dtype).reshape(spread))
    offset = add_initializer(graph, f"{name}_offset", (beta - mean * scale).astype(gamma.dtype).reshape(spread))
    scaled = make("Mul", [x, factor], name=f"{node.name}_scale")
    scaled.outputs[0].name = f"{name}_scaled"
    replace(node, scaled, make("Add", [scaled.outputs[0], offset]))
    return True
