"""Grids with a straight-through gradient (Bengio et al. 2013, arXiv 1308.3432). Codes are whole numbers in float32."""

from typing import TYPE_CHECKING

from edgewright.export.onnx.differentiable.rules import TORCH, Call

if TYPE_CHECKING:
    from torch import Tensor


def rounded(x: "Tensor") -> "Tensor":
    """Half to even; the gradient is that of the identity. Exact: `round(x) - x` is a float, by Sterbenz' lemma."""
    return x + (x.round() - x).detach()


@TORCH.lower("QuantizeLinear")
def quantize_linear(
    b: Call,
    x: "Tensor",
    scale: "Tensor",
    zero_point: "Tensor | None" = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
    saturate: int = 1,  # noqa: ARG001
) -> "Tensor":
    """Real → codes; no gradient passes where the grid saturates."""
    import torch

    if block_size or output_dtype or (zero_point is not None and zero_point.dtype not in (torch.int8, torch.uint8)):
        b.refuse("blocks, or a type other than int8 and uint8")
    kind = torch.iinfo(torch.uint8 if zero_point is None else zero_point.dtype)
    codes = rounded(x / along(scale, x, axis))
    codes = codes if zero_point is None else codes + along(zero_point, x, axis)
    return codes.clamp(kind.min, kind.max)


@TORCH.lower("DequantizeLinear")
def dequantize_linear(
    b: Call,
    codes: "Tensor",
    scale: "Tensor",
    zero_point: "Tensor | None" = None,
    *,
    axis: int = 1,
    block_size: int = 0,
) -> "Tensor":
    if block_size:
        b.refuse("blocks")
    codes = codes.float() if zero_point is None else codes.float() - along(zero_point, codes, axis)
    return codes * along(scale, codes, axis)


def along(parameters: "Tensor", x: "Tensor", axis: int) -> "Tensor":
    """A scalar, or [channels] shaped to broadcast along an axis of x."""
    if parameters.numel() == 1:
        return parameters.reshape(())
    spread = [1] * x.dim()
    spread[axis] = -1
    return parameters.reshape(spread)
