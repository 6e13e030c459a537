"""Operations that only move values, or cut."""

from math import prod
from typing import Any

import numpy as np
import torch

from edgewright.runtimes.mil.operators import OPERATION
from edgewright.runtimes.mil.parameters import flags, from_numpy, ints

Tensor = torch.Tensor


@OPERATION("reshape")
def reshape(x: Tensor, shape: Any) -> Tensor:
    """-1 stands for the rest; 0 for the length of the same axis counted from the last, 1 where there is none."""
    wanted = ints(shape)
    have = [1] * (len(wanted) - x.ndim) + list(x.shape[-len(wanted) :]) if wanted else []
    return x.reshape([length or same for length, same in zip(wanted, have, strict=True)])


@OPERATION("reshape_like")
def reshape_like(
    x: Tensor, ref_tensors: list[Tensor], begins: list[Any], ends: list[Any], end_masks: list[Any]
) -> Tensor:
    rows = zip(ref_tensors, begins, ends, end_masks, strict=True)
    return x.reshape([n for ref, b, e, mask in rows for n in ref.shape[int(b) : None if mask else int(e)]])


@OPERATION("flatten2d")
def flatten2d(x: Tensor, axis: Any = 1) -> Tensor:
    return x.reshape(prod(x.shape[: int(axis)]), prod(x.shape[int(axis) :]))


@OPERATION("expand_dims")
def expand_dims(x: Tensor, axes: Any) -> Tensor:
    return from_numpy(np.expand_dims(x.numpy(), tuple(ints(axes))))


@OPERATION("squeeze")
def squeeze(x: Tensor, axes: Any = None) -> Tensor:
    return from_numpy(np.squeeze(x.numpy(), tuple(ints(axes)) if axes is not None else None))


@OPERATION("transpose")
def transpose(x: Tensor, perm: Any) -> Tensor:
    return x.permute(ints(perm))


@OPERATION("reverse")
def reverse(x: Tensor, axes: Any = None) -> Tensor:
    return x.flip(ints(axes) if axes is not None else list(range(x.ndim)))


@OPERATION("reverse_sequence")
def reverse_sequence(x: Tensor, lengths: Any, seq_axis: Any = 0, batch_axis: Any = 0) -> Tensor:
    """The first `lengths[i]` of row i in reverse order."""
    found = x.movedim((int(batch_axis), int(seq_axis)), (0, 1)).clone()
    for row, length in enumerate(ints(lengths)):
        found[row, :length] = found[row, :length].flip(0)
    return found.movedim((0, 1), (int(batch_axis), int(seq_axis)))


@OPERATION("slice_by_index")
def slice_by_index(
    x: Tensor,
    begin: Any,
    end: Any,
    stride: Any = None,
    begin_mask: Any = None,
    end_mask: Any = None,
    squeeze_mask: Any = None,
) -> Tensor:
    parts = slices(x.ndim, begin, end, stride, begin_mask, end_mask, squeeze_mask)
    squeezed = tuple(axis for axis, flag in enumerate(flags(squeeze_mask, x.ndim)) if flag)
    return from_numpy(x.numpy()[parts].squeeze(squeezed).copy())


@OPERATION("slice_update")
def slice_update(
    x: Tensor,
    update: Tensor,
    begin: Any,
    end: Any,
    stride: Any = None,
    begin_mask: Any = None,
    end_mask: Any = None,
    squeeze_mask: Any = None,
) -> Tensor:
    parts = slices(x.ndim, begin, end, stride, begin_mask, end_mask, squeeze_mask)
    found = x.numpy().copy()
    found[parts] = update.numpy().reshape(found[parts].shape)
    return from_numpy(found)


def slices(
    rank: int, begin: Any, end: Any, stride: Any, begin_mask: Any, end_mask: Any, squeeze_mask: Any
) -> tuple[slice, ...]:
    """As numpy slices; a squeezed axis keeps its one value."""
    steps = ints(stride) if stride is not None else [1] * rank
    rows = zip(
        ints(begin), ints(end), steps, *(flags(m, rank) for m in (begin_mask, end_mask, squeeze_mask)), strict=True
    )
    return tuple(
        slice(b, b + 1 or None) if single else slice(None if from_start else b, None if to_end else e, step)
        for b, e, step, from_start, to_end, single in rows
    )


@OPERATION("slice_by_size")
def slice_by_size(x: Tensor, begin: Any, size: Any) -> Tensor:
    """-1 is all that is left."""
    starts = [b + length if b < 0 else b for b, length in zip(ints(begin), x.shape, strict=True)]
    return x[tuple(slice(b, None if n == -1 else b + n) for b, n in zip(starts, ints(size), strict=True))]


@OPERATION("sliding_windows")
def sliding_windows(x: Tensor, axis: Any, size: Any, stride: Any = 1) -> Tensor:
    where = int(axis) % x.ndim
    return x.unfold(where, int(size), int(stride)).movedim(-1, where + 1)


@OPERATION("depth_to_space")
def depth_to_space(x: Tensor, block_size: Any) -> Tensor:
    """The block's place is the slower part of a channel's number."""
    n, (b, c, h, w) = int(block_size), x.shape
    return x.reshape(b, n, n, c // n**2, h, w).permute(0, 3, 4, 1, 5, 2).reshape(b, c // n**2, h * n, w * n)


@OPERATION("space_to_depth")
def space_to_depth(x: Tensor, block_size: Any) -> Tensor:
    n, (b, c, h, w) = int(block_size), x.shape
    return x.reshape(b, c, h // n, n, w // n, n).permute(0, 3, 5, 1, 2, 4).reshape(b, c * n**2, h // n, w // n)


@OPERATION("pixel_shuffle")
def pixel_shuffle(x: Tensor, upscale_factor: Any) -> Tensor:
    return torch.nn.functional.pixel_shuffle(x, int(upscale_factor))


@OPERATION("pixel_unshuffle")
def pixel_unshuffle(x: Tensor, downscale_factor: Any) -> Tensor:
    return torch.nn.functional.pixel_unshuffle(x, int(downscale_factor))


@OPERATION("space_to_batch")
def space_to_batch(x: Tensor, block_shape: Any, paddings: Any) -> Tensor:
    """As TensorFlow's, with channels second."""
    (n, m), (b, c) = ints(block_shape), x.shape[:2]
    top, bottom, left, right = ints(paddings)
    x = torch.nn.functional.pad(x, (left, right, top, bottom))
    h, w = x.shape[2] // n, x.shape[3] // m
    return x.reshape(b, c, h, n, w, m).permute(3, 5, 0, 1, 2, 4).reshape(-1, c, h, w)


@OPERATION("batch_to_space")
def batch_to_space(x: Tensor, block_shape: Any, crops: Any) -> Tensor:
    (n, m), (b, c, h, w) = ints(block_shape), x.shape
    top, bottom, left, right = ints(crops)
    whole = x.reshape(n, m, b // (n * m), c, h, w).permute(2, 3, 4, 0, 5, 1).reshape(-1, c, h * n, w * m)
    return whole[:, :, top : h * n - bottom, left : w * m - right]


@OPERATION("crop")
def crop(x: Tensor, crop_height: Any, crop_width: Any) -> Tensor:
    (top, bottom), (left, right) = ints(crop_height), ints(crop_width)
    return x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right]
