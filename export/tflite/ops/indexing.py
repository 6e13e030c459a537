"""Operators that cut, join and repeat along axes."""

from collections.abc import Sequence
from math import prod

import numpy as np

from edgewright.export.tflite.node_builder import NodeBuilder
from edgewright.export.tflite.positions import to_int32
from edgewright.export.tflite.rules import TFLITE
from edgewright.export.tflite.tensor import Tensor

MOST_AXES = 5
"""SLICE and STRIDED_SLICE see no more; of more axes those that are cut are looked at one by one."""

SPLITS_EVENLY = (np.float32, np.int32, np.int8, np.uint8)
"""Element types of SPLIT; SPLIT_V knows int64 too."""


@TFLITE.lower("Concat", layout="axis")
def concat(b: NodeBuilder, *xs: Tensor, axis: int) -> Tensor:
    if len(xs) == 1:
        return b.reshape(xs[0], b.y.shape)
    return b.emit("CONCATENATION", xs, {"axis": b.axis(axis), "fusedActivationFunction": "NONE"})


@TFLITE.lower("Split", layout="axis")
def split(
    b: NodeBuilder,
    x: Tensor,
    sizes: Tensor | None = None,  # noqa: ARG001
    *,
    axis: int = 0,
    num_outputs: int | None = None,  # noqa: ARG001
) -> Sequence[Tensor]:
    held = b.axis(axis)
    if x.dtype == np.bool_:  # SPLIT_V takes none
        starts = np.cumsum([0, *(y.shape[held] for y in b.ys)]).tolist()
        return [_cut_axis(b, x, held, start, 1, y.shape[held]) for start, y in zip(starts, b.ys)]
    return part(b, x, held, b.ys)


def part(b: NodeBuilder, x: Tensor, axis: int, to: Sequence[Tensor]) -> Sequence[Tensor]:
    """Consecutive parts of `x` along an axis of the file into `to`; XNNPACK takes them where they are even."""
    lengths, options = [y.shape[axis] for y in to], {"numSplits": len(to)}
    place = b.constant(np.array(axis, np.int32), f"{to[0].name}/axis")
    if len(set(lengths)) == 1 and x.dtype in SPLITS_EVENLY:
        b.emit("SPLIT", [place, x], options, to=to)
    else:
        b.emit("SPLIT_V", [x, b.integers(lengths, "sizes"), place], options, to=to)
    return to


@TFLITE.lower("Slice", layout="axis")
def slice_(
    b: NodeBuilder, x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None
) -> Tensor:
    begin, count = b.need_constant(starts, "starts").tolist(), len(b.need_constant(ends, "ends"))
    where = list(range(count)) if axes is None else b.need_constant(axes, "axes").tolist()
    stride = [1] * count if steps is None else b.need_constant(steps, "steps").tolist()
    first, step = [0] * len(x.shape), [1] * len(x.shape)
    for axis, start, by in zip(where, begin, stride):
        held = b.axis(axis)
        length = x.shape[held]
        first[held] = _clamped(start + length if start < 0 else start, length, by)
        step[held] = by
    return cut(b, x, first, step, b.y)


def cut(b: NodeBuilder, x: Tensor, first: Sequence[int], step: Sequence[int], to: Tensor) -> Tensor:
    """What lies at first, first + step, ... along each axis, as many as `to` holds."""
    if len(x.shape) <= MOST_AXES:
        return _cut(b, x, first, step, to)
    for axis, length in enumerate(to.shape):
        if step[axis] != 1 or length != x.shape[axis]:
            x = _cut_axis(b, x, axis, first[axis], step[axis], length)
    return b.reshape(x, to.shape, to)


def _cut(b: NodeBuilder, x: Tensor, first: Sequence[int], step: Sequence[int], to: Tensor) -> Tensor:
    if all(by == 1 for by in step):
        return b.emit("SLICE", [x, b.integers(first, "begin"), b.integers(to.shape, "size")], to=to)
    last = [start + by * n for start, by, n in zip(first, step, to.shape)]
    # A slice that runs backwards over element 0 has no end that can be written: masked, it runs to the border.
    mask = sum(1 << axis for axis, end in enumerate(last) if end < 0)
    inputs = [x, b.integers(first, "begin"), b.integers(last, "end"), b.integers(step, "strides")]
    return b.emit("STRIDED_SLICE", inputs, {"endMask": mask}, to=to)


def _cut_axis(b: NodeBuilder, x: Tensor, axis: int, first: int, step: int, length: int) -> Tensor:
    """Along one axis, the others before and after it joined."""
    before, after = prod(x.shape[:axis]), prod(x.shape[axis + 1 :])
    view = b.reshape(x, (before, x.shape[axis], after))
    piece = _cut(b, view, (0, first, 0), (1, step, 1), b.temp("piece", x, (before, length, after)))
    return b.reshape(piece, (*x.shape[:axis], length, *x.shape[axis + 1 :]))


def _clamped(start: int, length: int, step: int) -> int:
    return min(max(start, 0), length if step > 0 else length - 1)


@TFLITE.lower("Expand", layout="axis")
def expand(b: NodeBuilder, x: Tensor, shape: Tensor) -> Tensor:  # noqa: ARG001
    if prod(x.shape) == prod(b.y.shape):
        return b.reshape(x, b.y.shape)
    return b.emit("BROADCAST_TO", [x, b.integers(b.y.shape, "shape")])


@TFLITE.lower("Tile", layout="axis")
def tile(b: NodeBuilder, x: Tensor, repeats: Tensor) -> Tensor:
    given = b.need_constant(repeats, "repeats").tolist()
    times = [1] * len(x.shape)
    for axis, count in enumerate(given):
        times[b.axis(axis)] = count
    return b.emit("TILE", [x, b.integers(times, "repeats")])


@TFLITE.lower("ReverseSequence", layout="nchw")
def reverse_sequence(b: NodeBuilder, x: Tensor, lengths: Tensor, *, batch_axis: int = 1, time_axis: int = 0) -> Tensor:
    options = {"seqDim": time_axis % b.rank, "batchDim": batch_axis % b.rank}
    if x.dtype in (np.bool_, np.int8):
        b.refuse(f"TFLite reverses no sequences of {x.dtype}; cast to int32 before and back after")
    return b.emit("REVERSE_SEQUENCE", [x, to_int32(b, lengths)], options)
