"""Parameters of operations, which come as tensors or as Python's defaults, in the form that torch wants."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

Tensor = torch.Tensor


def ints(value: Any) -> list[int]:
    """One or many numbers → a list."""
    return [int(n) for n in (value.reshape(-1) if isinstance(value, Tensor) else np.reshape(value, -1))]


def flags(value: Any, count: int) -> list[bool]:
    """A mask; None is all False."""
    return [bool(n) for n in value] if value is not None else [False] * count


def per_channel(parameter: Tensor, rank: int, axis: int = 1) -> Tensor:
    """A vector along one axis of a tensor of this rank; a scalar as it is."""
    if parameter.ndim == 0:
        return parameter
    return parameter.reshape([-1 if i == axis % rank else 1 for i in range(rank)])


def padded(x: Tensor, pad: Sequence[int], value: float = 0.0) -> Tensor:
    """`pad`: (before, after) of the last axes, in the order of the axes; negative cuts."""
    pairs = [pad[i : i + 2] for i in range(0, len(pad), 2)]
    return torch.nn.functional.pad(x, [n for pair in reversed(pairs) for n in pair], value=value)


def window_padding(
    pad_type: str, pad: Any, lengths: Sequence[int], kernel: Sequence[int], strides: Sequence[int]
) -> list[int]:
    """(before, after) of each spatial axis. `kernel` counts dilation in."""
    if pad_type == "custom":
        return ints(pad)
    if pad_type == "valid":
        return [0] * (2 * len(lengths))
    found: list[int] = []
    for length, k, stride in zip(lengths, kernel, strides, strict=True):
        total = max(0, (-(-length // stride) - 1) * stride + k - length)
        small, large = total // 2, total - total // 2
        found += [large, small] if pad_type == "same_lower" else [small, large]
    return found


def from_numpy(array: Any) -> Tensor:
    """A result of numpy, which may be a view with negative strides or a mere number."""
    return torch.from_numpy(np.ascontiguousarray(array).reshape(np.shape(array)))
