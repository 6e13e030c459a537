"""Normalizations: batch (where no convolution absorbed it), layer and instance."""

from typing import TYPE_CHECKING

import numpy as np

from edgewright.export.coreml.builder import MilBuilder, Value
from edgewright.export.coreml.lowerings import COREML
from edgewright.export.coreml.numbers import SMALLEST_FLOAT16
from edgewright.export.onnx.graph import constant

if TYPE_CHECKING:
    import onnx_ir as ir


def _fixed(node: "ir.Node") -> bool:
    """Scale, shift and so on are known ahead, and nobody reads mean and deviation."""
    parameters = range(1, len(node.inputs))
    read = [value for value in node.outputs[1:] if value.name and (value.uses() or value.is_graph_output())]
    fixed = all(constant(node, index) is not None for index in parameters if node.inputs[index] is not None)
    return fixed and not read and not node.attributes.get_int("training_mode", 0)


def _odd(node: "ir.Node") -> bool:
    """Of an even number of neighbours MIL does not say on which side the odd one is; nor is there one in 3-D."""
    shape = node.inputs[0].shape if node.inputs[0] is not None else None
    return bool(node.attributes["size"].as_int() % 2) and shape is not None and len(shape) in (3, 4)


@COREML.lower("LRN", layout="nchw", fits=_odd)
def lrn(
    b: MilBuilder,
    x: Value,
    *,
    alpha: float = 9.999999747378752e-05,
    beta: float = 0.75,
    bias: float = 1.0,
    size: int,
) -> Value:
    return b.mb.local_response_norm(x=x, size=size, alpha=b.real(alpha), beta=b.real(beta), k=b.real(bias))


@COREML.lower("BatchNormalization", layout="nchw", fits=_fixed)
def batch_normalization(
    b: MilBuilder,
    x: Value,
    scale: Value,
    shift: Value,
    mean: Value,
    variance: Value,
    *,
    epsilon: float = 9.999999747378752e-06,
    momentum: float = 0.8999999761581421,  # noqa: ARG001 (training only)
    training_mode: int = 0,  # noqa: ARG001
) -> Value:
    names = {"scale": scale, "shift": shift, "mean": mean, "variance": variance}
    gamma, beta, center, spread = [b.constant(value, name) for name, value in names.items()]
    if len(x.shape) < 3:  # MIL's batch_norm starts at rank 3
        factor = gamma / np.sqrt(spread + small(b, epsilon))
        return b.mb.add(x=b.mb.mul(x=x, y=factor), y=beta - center * factor)
    return b.mb.batch_norm(x=x, mean=center, variance=spread, gamma=gamma, beta=beta, epsilon=small(b, epsilon))


@COREML.lower("LayerNormalization", layout="axis", fits=_fixed)
def layer_normalization(
    b: MilBuilder,
    x: Value,
    scale: Value,
    shift: Value = None,
    *,
    axis: int = -1,
    epsilon: float = 9.999999747378752e-06,
    stash_type: int = 1,  # noqa: ARG001 (Core ML chooses the precision of the mean itself)
) -> Value:
    b.refuse_used_output(1)
    b.refuse_used_output(2)
    axes = list(range(axis % len(x.shape), len(x.shape)))
    lengths = [x.shape[at] for at in axes]
    gamma = np.array(np.broadcast_to(b.constant(scale, "scale"), lengths))
    beta = None if shift is None else np.array(np.broadcast_to(b.constant(shift, "bias"), lengths))
    return b.mb.layer_norm(x=x, axes=axes, gamma=gamma, beta=beta, epsilon=small(b, epsilon))


@COREML.lower("InstanceNormalization", layout="nchw", fits=_fixed)
def instance_normalization(
    b: MilBuilder, x: Value, scale: Value, shift: Value, *, epsilon: float = 9.999999747378752e-06
) -> Value:
    gamma, beta = b.constant(scale, "scale"), b.constant(shift, "bias")
    return b.mb.instance_norm(x=x, gamma=gamma, beta=beta, epsilon=small(b, epsilon))


def small(b: MilBuilder, epsilon: float) -> Value:
    """An epsilon in the node's arithmetic; one that float16 would round to zero becomes its smallest number."""
    return b.real(max(epsilon, SMALLEST_FLOAT16 if b.dtype is np.float16 else 0.0))
