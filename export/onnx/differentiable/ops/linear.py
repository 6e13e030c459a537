"""Matrix products."""

from typing import TYPE_CHECKING

from edgewright.export.onnx.differentiable.rules import TORCH, Call

if TYPE_CHECKING:
    from torch import Tensor


@TORCH.lower("Gemm")
def gemm(
    b: Call,  # noqa: ARG001
    a: "Tensor",
    w: "Tensor",
    c: "Tensor | None" = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,  # noqa: N803
    transB: int = 0,  # noqa: N803
) -> "Tensor":
    product = (a.T if transA else a) @ (w.T if transB else w)
    product = product if alpha == 1.0 else alpha * product
    return product if c is None else product + (c if beta == 1.0 else beta * c)


@TORCH.lower("Einsum")
def einsum(b: Call, *xs: "Tensor", equation: str) -> "Tensor":  # noqa: ARG001
    import torch

    y: Tensor = torch.einsum(equation.replace(" ", ""), *xs)
    return y
