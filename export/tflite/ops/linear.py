"""Matrix products: FULLY_CONNECTED with constant weights, BATCH_MATMUL of two computed operands."""

import numpy as np

from edgewright.export.tflite.layout import Form
from edgewright.export.tflite.node_builder import NodeBuilder
from edgewright.export.tflite.ops.conv import bias_of
from edgewright.export.tflite.rules import TFLITE
from edgewright.export.tflite.tensor import Tensor


@TFLITE.lower("Gemm", layout="nchw")
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
    channels = b.y.shape[-1]
    is_bias = c is None or (c.data is not None and c.data.size in (1, channels) and c.shape[:-1] in ((), (1,)))
    plain = alpha == beta == 1.0 or (beta == 1.0 and c is None and alpha == 1.0)
    if w.data is not None and not transA and is_bias and (plain or not b.y.is_int8):
        scaled = None if c is None else _scaled(b, c, beta, channels)
        return _fully_connected(b, a, _scaled_weights(b, w, alpha), bool(transB), scaled, keep_rank=False)
    b.need_float()
    last = c is None and alpha == 1.0
    product = b.y if last else b.temp("product", b.y)
    b.emit("BATCH_MATMUL", [a, w], {"adjX": bool(transA), "adjY": bool(transB)}, to=product)
    if alpha != 1.0:
        product = b.emit(
            "MUL", [product, b.scalar(alpha, b.y, "alpha")], to=b.y if c is None else b.temp("scaled", b.y)
        )
    if c is not None and beta != 1.0:
        c = b.emit("MUL", [c, b.scalar(beta, b.y, "beta")], to=b.temp("beta_c", c))
    if c is not None:
        return b.emit("ADD", [product, c], {"fusedActivationFunction": b.activation})
    if b.activation != "NONE":
        b.refuse("an activation after a product of two computed matrices")
    return product


@TFLITE.lower("MatMul", layout="nchw")
def matmul(b: NodeBuilder, a: Tensor, w: Tensor) -> Tensor:
    if w.data is not None and w.data.ndim == 2 and len(a.shape) >= 2:
        return _fully_connected(b, a, w, False, None, keep_rank=len(a.shape) > 2)
    if min(len(a.shape), len(w.shape)) < 2:
        b.refuse("an operand of rank 1")
    if max(len(a.shape), len(w.shape)) > 5:
        b.refuse("rank above 5")
    return b.emit("BATCH_MATMUL", [a, w], {"adjX": False, "adjY": False})


def _fully_connected(
    b: NodeBuilder, a: Tensor, w: Tensor, out_first: bool, bias: Tensor | None, *, keep_rank: bool
) -> Tensor:
    data = b.need_constant(w, "the weights")
    data = data if out_first else data.T
    quantization = w.quantization
    if quantization is not None and quantization.scale.size > 1 and quantization.axis != (0 if out_first else 1):
        b.refuse("weight scales along the input channels")
    if quantization is not None and np.any(quantization.zero_point):
        b.refuse("asymmetric int8 weights")
    weights = b.constant(_in_order(data, b.read_form), w.name, None if quantization is None else quantization.along(0))
    options = {"keepNumDims": keep_rank, "fusedActivationFunction": b.activation}
    return b.emit("FULLY_CONNECTED", [a, weights, bias_of(b, bias, len(data), a, w)], options)


def _in_order(data: "np.ndarray", form: Form) -> "np.ndarray":  # type: ignore[type-arg]
    """Columns [out, C·H·W] in the order H, W, C of an input that was flattened channels last."""
    return form.array(data) if form.kind == "flat" else data


def _scaled(b: NodeBuilder, c: Tensor, beta: float, channels: int) -> Tensor:
    if c.quantization is not None:
        return c
    data = b.need_constant(c, "the bias") * np.float32(beta)
    return b.constant(np.broadcast_to(data.reshape(-1), (channels,)).astype(np.float32), c.name)


def _scaled_weights(b: NodeBuilder, w: Tensor, alpha: float) -> Tensor:
    if alpha == 1.0:
        return w
    return b.constant(b.need_constant(w, "the weights") * np.float32(alpha), w.name)
