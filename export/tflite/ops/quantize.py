"""Q and DQ that stay: at the ends of an int8 graph, around float islands, and before float use of int8 constants."""

import numpy as np

from edgewright.export.tflite.node_builder import NodeBuilder
from edgewright.export.tflite.rules import TFLITE
from edgewright.export.tflite.tensor import Tensor


@TFLITE.lower("QuantizeLinear")
def quantize(
    b: NodeBuilder,
    x: Tensor,
    scale: Tensor,  # noqa: ARG001
    zero_point: Tensor | None = None,  # noqa: ARG001
    *,
    axis: int = 1,  # noqa: ARG001
    block_size: int = 0,
    output_dtype: int = 0,  # noqa: ARG001
    saturate: int = 1,  # noqa: ARG001
) -> Tensor:
    if block_size or b.y.quantization is None or b.y.quantization.scale.size > 1:
        b.refuse("activations are quantized per tensor")
    return b.emit("QUANTIZE", [x])


@TFLITE.lower("DequantizeLinear")
def dequantize(
    b: NodeBuilder,
    x: Tensor,
    scale: Tensor,  # noqa: ARG001
    zero_point: Tensor | None = None,  # noqa: ARG001
    *,
    axis: int = 1,  # noqa: ARG001
    block_size: int = 0,
) -> Tensor:
    if block_size or x.dtype == np.int32:
        b.refuse("only int8 values are dequantized, per tensor or per channel")
    return b.emit("DEQUANTIZE", [x])
