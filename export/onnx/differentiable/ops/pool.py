"""Pools over one to three spatial axes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgewright.export.onnx.differentiable.rules import TORCH, Call
from edgewright.export.onnx.differentiable.window import pad_spatial, window

if TYPE_CHECKING:
    from torch import Tensor

LOWEST = -3.4028234663852886e38  # of float32; not -inf, whose gradient may be NaN


@TORCH.lower("MaxPool")
def max_pool(
    b: Call,
    x: "Tensor",
    *,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,  # noqa: ARG001
    dilations: Sequence[int] | None = None,
    kernel_shape: Sequence[int],
    pads: Sequence[int] | None = None,
    storage_order: int = 0,  # noqa: ARG001
    strides: Sequence[int] | None = None,
) -> "Tensor":
    from torch.nn import functional

    b.only_one_output()
    view = window(kernel_shape, strides, dilations, pads, auto_pad, x.shape[2:], b.shape[2:])
    run = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}.get(len(view.kernel))
    if run is None or not x.is_floating_point():
        b.refuse(f"{len(view.kernel)} spatial axes of {x.dtype}")
    around = [(begin, end + more) for (begin, end), more in zip(view.pads, view.beyond, strict=True)]
    y: Tensor = run(pad_spatial(x, around, LOWEST), view.kernel, view.strides, dilation=view.dilations)
    return y


@TORCH.lower("AveragePool")
def average_pool(
    b: Call,
    x: "Tensor",
    *,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,  # noqa: ARG001
    count_include_pad: int = 0,
    dilations: Sequence[int] | None = None,
    kernel_shape: Sequence[int],
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> "Tensor":
    """Means over whole windows, corrected by the share of each window that counts."""
    import torch
    from torch.nn import functional

    view = window(kernel_shape, strides, dilations, pads, auto_pad, x.shape[2:], b.shape[2:])
    run = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}.get(len(view.kernel))
    if run is None or set(view.dilations) != {1}:
        b.refuse(f"{len(view.kernel)} spatial axes, or dilation")
    beyond = [(0, more) for more in view.beyond]
    means = run(pad_spatial(pad_spatial(x, view.pads), beyond), view.kernel, view.strides)
    counted = pad_spatial(torch.ones(1, 1, *x.shape[2:]), view.pads, float(count_include_pad))
    y: Tensor = means / run(pad_spatial(counted, beyond), view.kernel, view.strides)
    return y


@TORCH.lower("GlobalAveragePool")
def global_average_pool(b: Call, x: "Tensor") -> "Tensor":  # noqa: ARG001
    return x.mean(tuple(range(2, x.dim())), keepdim=True)


@TORCH.lower("GlobalMaxPool")
def global_max_pool(b: Call, x: "Tensor") -> "Tensor":  # noqa: ARG001
    return x.amax(tuple(range(2, x.dim())), keepdim=True)
