"""The weights of Conv, ConvTranspose and Gemm in one layout: [outputs, inputs of a group, taps]."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx_ir as ir

Floats = NDArray[np.float64]


def by_output(node: "ir.Node", weight: NDArray[Any]) -> Floats:
    """A weight as `node` holds it → [outputs, inputs of a group, taps]."""
    if _is_by_input(node):
        weight = weight.T
    if node.op_type == "ConvTranspose":  # [inputs, outputs of a group, ...]
        weight = _swapped(node, weight)
    return weight.astype(np.float64).reshape(*weight.shape[:2], -1)


def as_held(node: "ir.Node", weight: Floats, shape: tuple[int, ...]) -> Floats:
    """The inverse of `by_output`; `shape` is that of the weight as `node` holds it."""
    if _is_by_input(node):
        weight = weight.swapaxes(0, 1)
    if node.op_type == "ConvTranspose":
        weight = _swapped(node, weight)
    return weight.reshape(shape)


def inputs_of(weight: Floats, channels: int) -> NDArray[np.int64]:
    """[outputs, inputs]: which of the input's channels each element of a weight [outputs, inputs, taps] multiplies."""
    outputs, inputs = weight.shape[:2]
    group = np.arange(outputs) // (outputs // (channels // inputs))
    return group[:, None] * inputs + np.arange(inputs)[None, :]


def _is_by_input(node: "ir.Node") -> bool:
    return node.op_type == "Gemm" and not node.attributes.get_int("transB", 0)


def _swapped(node: "ir.Node", weight: NDArray[Any]) -> NDArray[Any]:
    """First and second axis exchanged, within each group."""
    groups = node.attributes.get_int("group", 1)
    exchanged = weight.reshape(groups, -1, *weight.shape[1:]).swapaxes(1, 2)
    return exchanged.reshape(-1, *exchanged.shape[2:])
