"""Matrix products. A product with a constant matrix becomes `linear`, which Core ML's compilers know best."""

from typing import TYPE_CHECKING

import numpy as np

from edgewright.export.coreml.builder import MilBuilder, Value, is_compressed
from edgewright.export.coreml.fitting import numbers
from edgewright.export.coreml.lowerings import COREML

if TYPE_CHECKING:
    import onnx_ir as ir


@COREML.lower("Gemm", layout="nchw", fits=numbers)
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
    if not b.is_real(a) and (alpha % 1 or beta % 1):
        raise b.refusal("integers with a factor that is not whole")
    number = b.real if b.is_real(a) else np.int32
    if c is not None and beta != 1:
        c = np.asarray(c * number(beta)) if isinstance(c, np.ndarray) else b.mb.mul(x=c, y=number(beta))
    constant = is_compressed(weight) or (b.is_real(a) and isinstance(weight, np.ndarray))
    if constant and alpha == 1 and not transA and (transB or isinstance(weight, np.ndarray)):
        rows = weight if transB else np.ascontiguousarray(weight.T)
        bias = per_output(c, rows.shape[0])
        product = b.mb.linear(x=a, weight=rows, bias=bias)
        return product if c is None or bias is not None else b.mb.add(x=product, y=c)
    product = b.mb.matmul(x=a, y=weight, transpose_x=bool(transA), transpose_y=bool(transB))
    if alpha != 1:
        product = b.mb.mul(x=product, y=number(alpha))
    return product if c is None else b.mb.add(x=product, y=c)


def _of_matrices(node: "ir.Node") -> bool:
    """MIL multiplies no vectors."""
    return numbers(node) and all(value is not None and len(value.shape or (0, 0)) > 1 for value in node.inputs)


@COREML.lower("MatMul", layout="nchw", fits=_of_matrices)
def matmul(b: MilBuilder, a: Value, other: Value) -> Value:
    if (
        isinstance(other, np.ndarray)
        and b.is_real(a)
        and other.ndim == 2
        and not isinstance(a, np.ndarray)
        and len(a.shape) in (2, 3)
    ):
        return b.mb.linear(x=a, weight=np.ascontiguousarray(other.T))
    return b.mb.matmul(x=a, y=other, transpose_x=False, transpose_y=False)


def per_output(c: Value, outputs: int) -> Value:
    """`c` as a bias of `linear` if it is one: constant, the same for every row."""
    if not isinstance(c, np.ndarray) or c.size not in (1, outputs) or c.shape[-1:] not in ((), (c.size,)):
        return None
    return np.array(np.broadcast_to(c.reshape(-1), (outputs,)))
