"""Operators that cut, join, repeat and pick."""

from collections.abc import Sequence

import numpy as np

from edgewright.export.tflite.node_builder import NodeBuilder
from edgewright.export.tflite.rules import TFLITE
from edgewright.export.tflite.tensor import Tensor

MIRROR = {"reflect": "REFLECT", "edge": "SYMMETRIC"}


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
    lengths = b.integers([y.shape[held] for y in b.ys], "sizes")
    axis_tensor = b.constant(np.array(held, np.int32), f"{b.y.name}/axis")
    b.emit("SPLIT_V", [x, lengths, axis_tensor], {"numSplits": len(b.ys)}, to=b.ys)
    return b.ys


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
    if all(by == 1 for by in step):
        return b.emit("SLICE", [x, b.integers(first, "begin"), b.integers(b.y.shape, "size")])
    last = [start + by * n for start, by, n in zip(first, step, b.y.shape)]
    # A slice that runs backwards over element 0 has no end that can be written: masked, it runs to the border.
    mask = sum(1 << axis for axis, end in enumerate(last) if end < 0)
    inputs = [x, b.integers(first, "begin"), b.integers(last, "end"), b.integers(step, "strides")]
    return b.emit("STRIDED_SLICE", inputs, {"endMask": mask})


def _clamped(start: int, length: int, step: int) -> int:
    return min(max(start, 0), length if step > 0 else length - 1)


@TFLITE.lower("Pad", layout="axis")
def pad(
    b: NodeBuilder,
    x: Tensor,
    pads: Tensor,
    value: Tensor | None = None,
    axes: Tensor | None = None,
    *,
    mode: str = "constant",
) -> Tensor:
    amounts = b.need_constant(pads, "pads").tolist()
    where = range(b.rank) if axes is None else b.need_constant(axes, "axes").tolist()
    pairs = [(0, 0)] * len(x.shape)
    for position, axis in enumerate(where):
        pairs[b.axis(axis)] = (amounts[position], amounts[position + len(amounts) // 2])
    if min(map(min, pairs)) < 0:
        b.refuse("negative pads")
    fill = 0.0 if value is None else float(b.need_constant(value, "the pad value").item())
    paddings = b.integers(pairs, "paddings")
    if mode in MIRROR:
        if mode == "edge" and max(map(max, pairs)) > 1:
            b.refuse("edge pads wider than 1")
        return b.emit("MIRROR_PAD", [x, paddings], {"mode": MIRROR[mode]})
    if mode != "constant":
        b.refuse(f"mode {mode}")
    if fill == 0:
        return b.emit("PAD", [x, paddings])
    return b.emit("PADV2", [x, paddings, b.scalar(fill, x, "value")])


@TFLITE.lower("Gather", layout="nchw")
def gather(b: NodeBuilder, x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    held = axis % b.rank
    if indices.data is not None:
        picked = np.where(indices.data < 0, indices.data + x.shape[held], indices.data)
        indices = b.constant(picked.astype(np.int32), indices.name)
    else:  # a negative index counts from the end in ONNX, and is out of bounds in TFLite
        length = b.scalar(x.shape[held], indices, "length")
        indices = b.emit("FLOOR_MOD", [indices, length], to=b.temp("from_start", indices))
    return b.emit("GATHER", [x, indices], {"axis": held, "batchDims": 0})


@TFLITE.lower("Expand", layout="nchw")
def expand(b: NodeBuilder, x: Tensor, shape: Tensor) -> Tensor:  # noqa: ARG001
    return b.emit("BROADCAST_TO", [x, b.integers(b.y.shape, "shape")])


@TFLITE.lower("Tile", layout="nchw")
def tile(b: NodeBuilder, x: Tensor, repeats: Tensor) -> Tensor:
    return b.emit("TILE", [x, b.integers(b.need_constant(repeats, "repeats"), "repeats")])
