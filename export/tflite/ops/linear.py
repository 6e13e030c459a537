"""Matrix products: FULLY_CONNECTED with constant weights, BATCH_MATMUL of two computed operands."""

from math import prod
from typing import TYPE_CHECKING

import numpy as np

from edgewright.export.tflite.layout import Form, is_constant
from edgewright.export.tflite.node_builder import NodeBuilder
from edgewright.export.tflite.ops.conv import bias_of
from edgewright.export.tflite.rules import TFLITE
from edgewright.export.tflite.tensor import Tensor
from edgewright.export.tflite.types import computes_in

if TYPE_CHECKING:
    import onnx_ir as ir

BATCH_MATMUL_RANK = 5


@TFLITE.lower("Gemm", layout="nchw", fits=computes_in("FLOAT"))
def gemm(
    b: NodeBuilder,
    a: Tensor,
    w: Tensor,
    c: Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,  # noqa: N803
    transB: int = 0,  # noqa: N803
) -> Tensor:
    if a.dtype not in (np.float32, np.int8):
        b.refuse("whole numbers that are no codes, with alpha or beta; cast them to float32")
    if w.data is None or transA:
        product = _batch_matmul(b, a, w, bool(transA), bool(transB), b.temp("product", b.y))
        return _scale_and_add(b, product, alpha, c, beta)
    channels = b.y.shape[-1]
    if c is None or (c.data is not None and c.data.size in (1, channels) and c.shape[:-1] in ((), (1,))):
        scaled = _scaled(b, c, beta, channels)
        keep = len(a.shape) > 2
        return _fully_connected(b, a, _scaled_weights(b, w, alpha), bool(transB), scaled, keep, b.y, b.activation)
    product = b.temp("product", b.y)
    _fully_connected(b, a, w, bool(transB), None, False, product, "NONE")
    return _scale_and_add(b, product, alpha, c, beta)


def _scale_and_add(b: NodeBuilder, product: Tensor, alpha: float, c: Tensor | None, beta: float) -> Tensor:
    """α · product + β · c, with the fused activation."""
    b.need_float()
    if alpha != 1.0:
        product = b.emit("MUL", [product, b.scalar(alpha, product, "alpha")], to=b.temp("scaled", b.y))
    if c is None:
        activation = b.activation
        return product if activation == "NONE" else b.emit(activation, [product])
    if beta != 1.0:
        c = b.emit("MUL", [c, b.scalar(beta, c, "beta")], to=b.temp("beta_c", c))
    return b.emit("ADD", [product, c], {"fusedActivationFunction": b.activation})


def _multiplies_matrices(node: "ir.Node") -> bool:
    """Whether one of the two kernels takes it: float operands of rank 2 to 5, or a constant matrix; none empty."""
    shapes = [tuple(value.shape or (0,)) for value in node.inputs if value is not None]
    ranks = [len(shape) for shape in shapes]
    constant = ranks[1] == 2 and is_constant(node.inputs[1])
    full = not any(0 in shape for shape in shapes)
    return full and computes_in("FLOAT")(node) and min(ranks) >= 2 and (constant or max(ranks) <= BATCH_MATMUL_RANK)


@TFLITE.lower("MatMul", layout="nchw", fits=_multiplies_matrices)
def matmul(b: NodeBuilder, a: Tensor, w: Tensor) -> Tensor:
    if a.dtype not in (np.float32, np.int8):
        b.refuse("whole numbers that are no codes; cast them to float32")
    if w.data is not None and w.data.ndim == 2:
        return _fully_connected(b, a, w, False, None, len(a.shape) > 2, b.y, b.activation)
    return _batch_matmul(b, a, w, False, False, b.y)


def _batch_matmul(b: NodeBuilder, a: Tensor, w: Tensor, adj_a: bool, adj_w: bool, to: Tensor) -> Tensor:
    if w is a:  # XNNPACK draws a TRANSPOSE before it into the second operand, and then reads the first one wrongly
        w = b.reshape(a, a.shape, b.temp("again", a))
    return b.emit("BATCH_MATMUL", [a, w], {"adjX": adj_a, "adjY": adj_w}, to=to)


def _fully_connected(
    b: NodeBuilder,
    a: Tensor,
    w: Tensor,
    out_first: bool,
    bias: Tensor | None,
    keep_rank: bool,
    to: Tensor,
    activation: str,
) -> Tensor:
    data = b.need_constant(w, "the weights")
    data = data if out_first else data.T
    quantization = w.quantization
    if quantization is not None and quantization.scale.size > 1 and quantization.axis != (0 if out_first else 1):
        b.refuse("weight scales along the input channels")
    if quantization is not None and np.any(quantization.zero_point):
        b.refuse("asymmetric int8 weights")
    weights = b.constant(_in_order(data, b.read_form), w.name, None if quantization is None else quantization.along(0))
    values = bias_of(b, bias, len(data), a, w)
    if b.dynamic and quantization is not None and a.quantization is None:
        return _as_convolution(b, a, weights, values, to, activation)
    options = {"keepNumDims": keep_rank, "fusedActivationFunction": activation}
    return b.emit("FULLY_CONNECTED", [a, weights, values], options, to=to)


def _as_convolution(b: NodeBuilder, a: Tensor, weights: Tensor, bias: Tensor, to: Tensor, activation: str) -> Tensor:
    """x · Wᵀ as a 1×1 convolution of one pixel a row: with float inputs, older runtimes know no FULLY_CONNECTED that
    has a scale a channel, but this."""
    channels, length = weights.shape
    assert weights.data is not None
    kernel = b.constant(weights.data.reshape(channels, 1, 1, length), weights.name, weights.quantization)
    pixels = b.reshape(a, (prod(a.shape[:-1]), 1, 1, length))
    made = b.temp("pixels", to, (pixels.shape[0], 1, 1, channels))
    options = {"padding": "VALID", "strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
    b.emit("CONV_2D", [pixels, kernel, bias], {**options, "fusedActivationFunction": activation}, to=made)
    return b.reshape(made, to.shape, to)


def _in_order(data: "np.ndarray", form: Form) -> "np.ndarray":  # type: ignore[type-arg]
    """Columns [out, C·H·W] in the order H, W, C of an input that was flattened channels last."""
    return form.array(data) if form.kind == "flat" else data


def _scaled(b: NodeBuilder, c: Tensor | None, beta: float, channels: int) -> Tensor | None:
    if c is None or (c.quantization is not None and beta == 1.0):
        return c
    if c.quantization is not None:
        b.refuse("int8 with beta other than 1")
    data = b.need_constant(c, "the bias") * np.float32(beta)
    return b.constant(np.broadcast_to(data.reshape(-1), (channels,)).astype(np.float32), c.name)


def _scaled_weights(b: NodeBuilder, w: Tensor, alpha: float) -> Tensor:
    if alpha == 1.0:
        return w
    if w.quantization is not None:
        b.refuse("int8 with alpha other than 1")
    return b.constant(b.need_constant(w, "the weights") * np.float32(alpha), w.name)
