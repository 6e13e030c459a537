"""Matrix products and attention."""

import math
from typing import Any

import torch

from edgewright.runtimes.mil.operators import OPERATION
from edgewright.runtimes.mil.sums import Sums

Tensor = torch.Tensor


@OPERATION("linear")
def linear(x: Tensor, weight: Tensor, sums: Sums, bias: Tensor | None = None) -> Tensor:
    found = sums.matmul(x, weight.mT)
    return found if bias is None else found + bias


@OPERATION("matmul")
def matmul(x: Tensor, y: Tensor, sums: Sums, transpose_x: Any = False, transpose_y: Any = False) -> Tensor:
    """As numpy's, also for vectors and integers."""
    x = x.mT if transpose_x and x.ndim > 1 else x
    y = y.mT if transpose_y and y.ndim > 1 else y
    return sums.matmul(x, y)


@OPERATION("einsum")
def einsum(values: list[Tensor], equation: str) -> Tensor:
    return torch.einsum(equation, *values)


@OPERATION("scaled_dot_product_attention")
def attention(query: Tensor, key: Tensor, value: Tensor, sums: Sums, attn_mask: Tensor | None = None) -> Tensor:
    scores = sums.matmul(query, key.mT) / math.sqrt(query.shape[-1])
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -math.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    return sums.matmul(scores.softmax(-1), value)
