"""Convolutions over one to three spatial axes, and their transposes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgewright.export.onnx.differentiable.rules import TORCH, Call
from edgewright.export.onnx.differentiable.window import pad_spatial, window

if TYPE_CHECKING:
    from torch import Tensor


@TORCH.lower("Conv")
def conv(
    b: Call,
    x: "Tensor",
    w: "Tensor",
    bias: "Tensor | None" = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Sequence[int] | None = None,
    group: int = 1,
    kernel_shape: Sequence[int] | None = None,  # noqa: ARG001
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> "Tensor":
    from torch.nn import functional

    view = window(w.shape[2:], strides, dilations, pads, auto_pad, x.shape[2:], b.shape[2:])
    run = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}.get(len(view.kernel))
    if run is None:
        b.refuse(f"{len(view.kernel)} spatial axes")
    even = all(begin == end for begin, end in view.pads)
    x = x if even else pad_spatial(x, view.pads)
    padding = [begin if even else 0 for begin, _ in view.pads]
    return run(x, w, bias, view.strides, padding, view.dilations, group)


@TORCH.lower("ConvTranspose")
def conv_transpose(
    b: Call,
    x: "Tensor",
    w: "Tensor",
    bias: "Tensor | None" = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Sequence[int] | None = None,
    group: int = 1,
    kernel_shape: Sequence[int] | None = None,  # noqa: ARG001
    output_padding: Sequence[int] | None = None,  # noqa: ARG001
    output_shape: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> "Tensor":
    """All that the windows write, cut to the output; the output's shape tells its padding."""
    from torch.nn import functional

    if output_shape is not None or auto_pad not in ("NOTSET", "VALID"):
        b.refuse("pads that follow from the output's shape")
    rank = x.dim() - 2
    run = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}.get(rank)
    if run is None:
        b.refuse(f"{rank} spatial axes")
    full = run(x, w, stride=tuple(strides or (1,) * rank), groups=group, dilation=tuple(dilations or (1,) * rank))
    begins = tuple(pads or (0,) * rank)[:rank]
    ends = [out - n + begin for out, n, begin in zip(b.shape[2:], full.shape[2:], begins, strict=True)]
    y = pad_spatial(full, [(-begin, end) for begin, end in zip(begins, ends, strict=True)])
    return y if bias is None else y + bias.reshape(-1, *(1,) * rank)
