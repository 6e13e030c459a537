"""Pooling over one to three spatial axes."""

from typing import Any

import torch
import torch.nn.functional as F

from edgewright.runtimes.mil.operators import OPERATION
from edgewright.runtimes.mil.parameters import ints, padded, window_padding

Tensor = torch.Tensor


@OPERATION("max_pool")
def max_pool(
    x: Tensor, kernel_sizes: Any, pad_type: str, strides: Any = None, pad: Any = None, ceil_mode: Any = False
) -> Tensor:
    kernel, steps, padding = _window(x, kernel_sizes, pad_type, strides, pad)
    padding = _rounded_up(x, kernel, steps, padding) if ceil_mode else padding
    function = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[x.ndim - 3]
    return function(padded(x, padding, -torch.inf), kernel, steps)


@OPERATION("avg_pool")
def avg_pool(
    x: Tensor,
    kernel_sizes: Any,
    pad_type: str,
    strides: Any = None,
    pad: Any = None,
    ceil_mode: Any = False,
    exclude_padding_from_average: Any = False,
) -> Tensor:
    """What rounding the size up adds at the end never counts."""
    kernel, steps, padding = _window(x, kernel_sizes, pad_type, strides, pad)
    ends = _rounded_up(x, kernel, steps, padding) if ceil_mode else padding
    extra = [after - before for after, before in zip(ends, padding, strict=True)]
    total = _mean(padded(x, ends), kernel, steps)
    counted = x.new_ones((1, 1, *x.shape[2:]))
    if exclude_padding_from_average:
        return total / _mean(padded(counted, ends), kernel, steps)
    if any(extra):
        return total / _mean(padded(padded(counted, padding, 1.0), extra), kernel, steps)
    return total


@OPERATION("l2_pool")
def l2_pool(
    x: Tensor, kernel_sizes: Any, pad_type: str, strides: Any = None, pad: Any = None, ceil_mode: Any = False
) -> Tensor:
    kernel, steps, padding = _window(x, kernel_sizes, pad_type, strides, pad)
    padding = _rounded_up(x, kernel, steps, padding) if ceil_mode else padding
    size = torch.tensor(kernel).prod()
    return (_mean(padded(x.square(), padding), kernel, steps) * size).sqrt()


def _mean(x: Tensor, kernel: list[int], steps: list[int]) -> Tensor:
    return (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[x.ndim - 3](x, kernel, steps)


def _window(
    x: Tensor, kernel_sizes: Any, pad_type: str, strides: Any, pad: Any
) -> tuple[list[int], list[int], list[int]]:
    kernel = ints(kernel_sizes)
    steps = ints(strides) if strides is not None else [1] * len(kernel)
    custom = pad if pad is not None else [0] * (2 * len(kernel))
    return kernel, steps, window_padding(pad_type, custom, x.shape[2:], kernel, steps)


def _rounded_up(x: Tensor, kernel: list[int], steps: list[int], padding: list[int]) -> list[int]:
    """Padding with which the windows are as many as when their number is rounded up, but none lies in it alone."""
    found = list(padding)
    for axis, (length, k, step) in enumerate(zip(x.shape[2:], kernel, steps, strict=True)):
        before, after = padding[2 * axis : 2 * axis + 2]
        count = -(-(length + before + after - k) // step) + 1
        if (count - 1) * step >= length + before:
            count -= 1
        found[2 * axis + 1] = (count - 1) * step + k - length - before
    return found
