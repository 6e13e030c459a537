"""Sums of products, the one place where the width of an accumulator tells: float32, or float16 at every step."""

from collections.abc import Sequence
from itertools import product
from typing import Any, Protocol

import torch
import torch.nn.functional as F

Tensor = torch.Tensor


class Sums(Protocol):
    def matmul(self, x: Tensor, y: Tensor) -> Tensor: ...

    def conv(self, x: Tensor, weight: Tensor, strides: list[int], dilations: list[int], groups: int) -> Tensor:
        """Without padding. `x`: [N, C, ...], `weight`: [O, C/groups, ...]."""
        ...

    def total(self, x: Tensor, axes: Sequence[int], *, keep: bool) -> Tensor: ...


class Float32Sums:
    def matmul(self, x: Tensor, y: Tensor) -> Tensor:
        return x @ y

    def conv(self, x: Tensor, weight: Tensor, strides: list[int], dilations: list[int], groups: int) -> Tensor:
        function = (F.conv1d, F.conv2d, F.conv3d)[x.ndim - 3]
        return function(x, weight, None, strides, 0, dilations, groups)

    def total(self, x: Tensor, axes: Sequence[int], *, keep: bool) -> Tensor:
        return x.sum(list(axes), keep, dtype=x.dtype)


class Float16Sums:
    """One product after the other into a float16 accumulator, as a fused multiply-add rounds."""

    def matmul(self, x: Tensor, y: Tensor) -> Tensor:
        vector = y.ndim == 1
        y = y[:, None] if vector else y
        found = torch.zeros(())
        for k in range(x.shape[-1]):
            found = _half(found + x[..., k, None] * y[..., k, None, :])
        return found[..., 0] if vector else found

    def conv(self, x: Tensor, weight: Tensor, strides: list[int], dilations: list[int], groups: int) -> Tensor:
        sizes = [
            (length - (k - 1) * d - 1) // s + 1
            for length, k, d, s in zip(x.shape[2:], weight.shape[2:], dilations, strides, strict=True)
        ]
        ones = (1,) * len(sizes)
        found = torch.zeros((x.shape[0], groups, weight.shape[0] // groups, *sizes))
        grouped = weight.reshape(groups, -1, *weight.shape[1:])
        for place in product(*(range(k) for k in weight.shape[2:])):
            taps: list[Any] = [
                slice(p * d, p * d + (n - 1) * s + 1, s)
                for p, d, n, s in zip(place, dilations, sizes, strides, strict=True)
            ]
            seen = x[..., *taps].reshape(x.shape[0], groups, 1, -1, *sizes)
            for channel in range(weight.shape[1]):
                at: tuple[Any, ...] = (slice(None), slice(None), channel, *place)
                factor = grouped[at].reshape(1, groups, -1, *ones)
                found = _half(found + seen[:, :, :, channel] * factor)
        return found.reshape(x.shape[0], -1, *sizes)

    def total(self, x: Tensor, axes: Sequence[int], *, keep: bool) -> Tensor:
        if not x.is_floating_point():
            return x.sum(list(axes), keep, dtype=x.dtype)
        axes = [axis % x.ndim for axis in axes]
        kept = [axis for axis in range(x.ndim) if axis not in axes]
        rows = x.permute(*axes, *kept).reshape(-1, *(x.shape[axis] for axis in kept))
        found = torch.zeros(rows.shape[1:])
        for row in rows:
            found = _half(found + row)
        return found.reshape([1 if axis in axes else length for axis, length in enumerate(x.shape)]) if keep else found


def _half(x: Tensor) -> Tensor:
    return x.half().float()
