"""Convolutions of one to three spatial axes."""

from collections.abc import Sequence
from typing import Any

import torch

from edgewright.runtimes.mil.operators import OPERATION
from edgewright.runtimes.mil.parameters import ints, padded, per_channel, window_padding
from edgewright.runtimes.mil.sums import Sums

Tensor = torch.Tensor


@OPERATION("conv")
def conv(
    x: Tensor,
    weight: Tensor,
    sums: Sums,
    bias: Tensor | None = None,
    strides: Any = 1,
    pad_type: str = "valid",
    pad: Any = 0,
    dilations: Any = 1,
    groups: Any = 1,
) -> Tensor:
    spatial = x.ndim - 2
    steps, spread = _each(strides, spatial), _each(dilations, spatial)
    window = _window(weight, spread)
    padding = window_padding(pad_type, _each(pad, 2 * spatial), x.shape[2:], window, steps)
    found = sums.conv(padded(x, padding), weight, steps, spread, int(groups))
    return found if bias is None else found + per_channel(bias, x.ndim)


@OPERATION("conv_transpose")
def conv_transpose(
    x: Tensor,
    weight: Tensor,
    sums: Sums,
    bias: Tensor | None = None,
    pad: Any = 0,
    output_shape: Any = None,
    pad_type: str = "valid",
    strides: Any = 1,
    dilations: Any = 1,
    groups: Any = 1,
) -> Tensor:
    """A convolution of the input with zeros between its values, by the mirrored weight; `weight`: [C, O/groups, ...].

    With an output shape that the padding does not lead to, what is missing follows at the end.
    """
    spatial = x.ndim - 2
    steps, spread = _each(strides, spatial), _each(dilations, spatial)
    window = _window(weight, spread)
    padding = _cut(pad_type, _each(pad, 2 * spatial), window, steps)
    if output_shape is not None:
        _reach(padding, ints(output_shape)[-spatial:], x.shape[2:], window, steps)
    around = [window[place // 2] - 1 - n for place, n in enumerate(padding)]
    mirrored = _mirrored(weight, int(groups))
    found = sums.conv(padded(_spaced(x, steps), around), mirrored, [1] * spatial, spread, int(groups))
    return found if bias is None else found + per_channel(bias, x.ndim)


def _reach(padding: list[int], wanted: list[int], lengths: Sequence[int], window: list[int], steps: list[int]) -> None:
    """Cut as much at the end as leaves the wanted lengths (in place)."""
    for axis, (length, k, step) in enumerate(zip(lengths, window, steps, strict=True)):
        padding[2 * axis + 1] = (length - 1) * step + k - padding[2 * axis] - wanted[axis]


def _cut(pad_type: str, pad: list[int], window: list[int], steps: list[int]) -> list[int]:
    """(before, after) that a transposed convolution leaves out; "same" gives `length` × `stride`."""
    if pad_type == "custom":
        return pad
    if pad_type == "valid":
        return [0] * (2 * len(window))
    totals = [k - step for k, step in zip(window, steps, strict=True)]
    return [n for total in totals for n in (total // 2, total - total // 2)]


def _spaced(x: Tensor, steps: list[int]) -> Tensor:
    """With `step` - 1 zeros between the values."""
    if set(steps) == {1}:
        return x
    lengths = [(length - 1) * step + 1 for length, step in zip(x.shape[2:], steps, strict=True)]
    wide = x.new_zeros(*x.shape[:2], *lengths)
    every: list[Any] = [slice(None, None, step) for step in steps]
    wide[..., *every] = x
    return wide


def _mirrored(weight: Tensor, groups: int) -> Tensor:
    """[C, O/groups, ...] → [O, C/groups, ...], its spatial axes reversed."""
    spatial = list(range(2, weight.ndim))
    rows = weight.reshape(groups, -1, *weight.shape[1:]).transpose(1, 2)
    return rows.reshape(-1, rows.shape[2], *weight.shape[2:]).flip(spatial)


def _window(weight: Tensor, spread: list[int]) -> list[int]:
    return [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], spread, strict=True)]


def _each(value: Any, count: int) -> list[int]:
    found = ints(value)
    return found * count if len(found) == 1 else found
