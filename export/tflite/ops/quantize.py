"""Q and DQ that stay: at the ends of an int8 graph, around float islands, and before float use of int8 constants."""

from typing import TYPE_CHECKING

import numpy as np

from edgewright.export.tflite.layout import is_constant
from edgewright.export.tflite.node_builder import NodeBuilder
from edgewright.export.tflite.rules import TFLITE
from edgewright.export.tflite.tensor import Tensor

if TYPE_CHECKING:
    import onnx_ir as ir


def _is_plain(node: "ir.Node", codes: "ir.Value | None", constant: bool) -> bool:
    """Whether the codes become an int8 tensor (at an end of the graph also uint8) with these constant scales; of what
    is computed there is one scale. All other codes are computed in float32."""
    scale, zero_point = node.inputs[1], node.inputs[2] if len(node.inputs) > 2 else None
    known = is_constant(scale) and (zero_point is None or is_constant(zero_point))
    if codes is None or not known or node.attributes.get_int("block_size", 0) != 0 or scale is None:
        return False
    kind = zero_point.dtype if zero_point is not None else codes.dtype
    at_end = codes.is_graph_input() or codes.is_graph_output()
    one = scale.const_value is not None and scale.const_value.size == 1
    typed = kind is not None and (kind.name == "INT8" or (kind.name == "UINT8" and at_end))
    return (typed and (one or constant)) or (kind is not None and kind.name == "INT32" and constant)


def _quantizes(node: "ir.Node") -> bool:
    x = node.inputs[0]
    return (
        x is not None
        and x.dtype is not None
        and x.dtype.name == "FLOAT"
        and _is_plain(node, node.outputs[0], is_constant(x))
    )


@TFLITE.lower("QuantizeLinear", fits=_quantizes)
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


@TFLITE.lower("DequantizeLinear", fits=lambda node: _is_plain(node, node.inputs[0], is_constant(node.inputs[0])))
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
