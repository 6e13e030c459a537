"""Weights of 7 bits: the price at which the fast int8 kernels of any x86 answer exactly.

Without VNNI they add two products of an unsigned and a signed byte in 16 bits: 2 × 255 × 64 fits, 2 × 255 × 127 does
not. It is another quantization than the truth of 8 bits (onnxruntime calls it `reduce_range`), no form of it.
"""

from typing import TYPE_CHECKING

import numpy as np

from edgewright.export.onnx.graph import constant, nodes_of
from edgewright.export.onnx.quantize.grid import WEIGHT_LIMIT, encode_weight
from edgewright.export.onnx.quantize.quantized import Quantized

if TYPE_CHECKING:
    import onnx_ir as ir

NARROW_LIMIT = 64
BITS_KEY = "edgewright.weight_bits"


def narrow_weights(quantized: Quantized) -> int:
    """Round the weights, and the biases that share their scales, anew on grids of [-64, 64], in place; how many."""
    count = 0
    for node in nodes_of(quantized.model):
        weight = _dequantizer(node, 1)
        x = _dequantizer(node, 0)
        if weight is None or x is None or str(weight.inputs[0].name) not in quantized.masters:  # type: ignore[union-attr]
            continue
        scales = (_array(weight, 1) * np.float32(WEIGHT_LIMIT / NARROW_LIMIT)).astype(np.float32)
        axis = weight.attributes.get_int("axis", 1)
        _renew(weight, 0, encode_weight(quantized.masters[str(weight.inputs[0].name)], axis, scales))  # type: ignore[union-attr]
        _renew(weight, 1, scales)
        bias = _dequantizer(node, 2)
        if bias is not None:
            real = quantized.masters[str(bias.inputs[0].name)]  # type: ignore[union-attr]
            product = np.resize(_array(x, 1) * scales, len(real)).astype(np.float32)
            _renew(bias, 0, np.rint(real.astype(np.float64) / product.astype(np.float64)).astype(np.int32))
            _renew(bias, 1, product)
        count += 1
    quantized.model.metadata_props[BITS_KEY] = "7"
    return count


def _dequantizer(node: "ir.Node", index: int) -> "ir.Node | None":
    value = node.inputs[index] if index < len(node.inputs) else None
    producer = None if value is None else value.producer()
    return producer if producer is not None and producer.op_type == "DequantizeLinear" else None


def _array(node: "ir.Node", index: int) -> "np.ndarray":  # type: ignore[type-arg]
    found = constant(node, index)
    assert found is not None
    return found


def _renew(node: "ir.Node", index: int, array: "np.ndarray") -> None:  # type: ignore[type-arg]
    """Another value of a constant; the truth's constants have one reader each."""
    import onnx_ir as ir

    value = node.inputs[index]
    assert value is not None
    value.const_value = ir.tensor(array, name=value.name)
