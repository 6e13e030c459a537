"""Matrix products. A product with a constant matrix becomes `linear`, which Core ML's compilers know best."""

import numpy as np

from edgewright.export.coreml.builder import MilBuilder, Value, is_compressed
from edgewright.export.coreml.lowerings import COREML


@COREML.lower("Gemm", layout="nchw")
def gemm(
    b: MilBuilder,
    a: Value,
    weight: Value,
    c: Value = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,  # noqa: N803 (ONNX's name)
    transB: int = 0,  # noqa: N803
) -> Value:
    """y = alpha · op(a) · op(weight) + beta · c."""
    if c is not None and beta != 1:
        c = np.asarray(c * b.real(beta)) if isinstance(c, np.ndarray) else b.mb.mul(x=c, y=b.real(beta))
    constant = isinstance(weight, np.ndarray) or is_compressed(weight)
    if constant and alpha == 1 and not transA and (transB or isinstance(weight, np.ndarray)):
        rows = weight if transB else np.ascontiguousarray(weight.T)
        bias = per_output(c, rows.shape[0])
        product = b.mb.linear(x=a, weight=rows, bias=bias)
        return product if c is None or bias is not None else b.mb.add(x=product, y=c)
    product = b.mb.matmul(x=a, y=weight, transpose_x=bool(transA), transpose_y=bool(transB))
    if alpha != 1:
        product = b.mb.mul(x=product, y=b.real(alpha))
    return product if c is None else b.mb.add(x=product, y=c)


@COREML.lower("MatMul", layout="nchw")
def matmul(b: MilBuilder, a: Value, other: Value) -> Value:
    if not b.is_real(a):
        raise b.refusal("an integer product")
    if isinstance(other, np.ndarray) and other.ndim == 2 and not isinstance(a, np.ndarray) and len(a.shape) in (2, 3):
        return b.mb.linear(x=a, weight=np.ascontiguousarray(other.T))
    if len(a.shape) < 2 or len(other.shape) < 2:
        raise b.refusal("a product with a vector")
    return b.mb.matmul(x=a, y=other, transpose_x=False, transpose_y=False)


def per_output(c: Value, outputs: int) -> Value:
    """`c` as a bias of `linear` if it is one: constant, the same for every row."""
    if not isinstance(c, np.ndarray) or c.size not in (1, outputs) or c.shape[-1:] not in ((), (c.size,)):
        return None
    return np.array(np.broadcast_to(c.reshape(-1), (outputs,)))
