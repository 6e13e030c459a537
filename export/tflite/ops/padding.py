"""Padding."""

from collections.abc import Sequence
from math import prod
from typing import Literal, cast

import numpy as np

from edgewright.export.tflite.node_builder import NodeBuilder
from edgewright.export.tflite.ops.indexing import cut
from edgewright.export.tflite.rules import TFLITE
from edgewright.export.tflite.tensor import Tensor

Pairs = list[tuple[int, int]]
Mode = Literal["reflect", "edge", "wrap"]

MOST_AXES = 4
"""What PAD sees in every runtime; more axes are looked at one by one."""


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
    """Negative pads cut first."""
    amounts = b.need_constant(pads, "pads").tolist()
    where = range(b.rank) if axes is None else b.need_constant(axes, "axes").tolist()
    pairs = [(0, 0)] * len(x.shape)
    for position, axis in enumerate(where):
        pairs[b.axis(axis)] = (amounts[position], amounts[position + len(amounts) // 2])
    x, pairs = _cropped(b, x, pairs)
    if not any(map(any, pairs)):
        return x
    if mode == "constant":
        return _filled(b, x, pairs, value)
    return _picked(b, x, pairs, cast(Mode, mode))


def _cropped(b: NodeBuilder, x: Tensor, pairs: Pairs) -> tuple[Tensor, Pairs]:
    first = [max(-before, 0) for before, _ in pairs]
    kept = [n - start - max(-after, 0) for n, start, (_, after) in zip(x.shape, first, pairs)]
    left = [(max(before, 0), max(after, 0)) for before, after in pairs]
    if kept == list(x.shape):
        return x, left
    return cut(b, x, first, [1] * len(kept), b.temp("cropped", x, kept)), left


def _filled(b: NodeBuilder, x: Tensor, pairs: Pairs, value: Tensor | None) -> Tensor:
    if x.dtype == np.bool_:  # only the newest runtimes pad these
        if value is not None:
            value = b.constant(b.need_constant(value, "the pad value of booleans").astype(np.int32), value.name)
        kinds = {"inDataType": "BOOL", "outDataType": "INT32"}
        codes = b.emit("CAST", [x], kinds, to=b.temp("codes", x, dtype=np.int32))
        padded = _with_fill(b, codes, pairs, value, b.temp("padded", codes, b.y.shape))
        return b.emit("CAST", [padded], {"inDataType": "INT32", "outDataType": "BOOL"})
    return _with_fill(b, x, pairs, value, b.y)


def _with_fill(b: NodeBuilder, x: Tensor, pairs: Pairs, value: Tensor | None, to: Tensor) -> Tensor:
    fill = _fill(b, x, value)
    if len(pairs) <= MOST_AXES:
        return _pad(b, x, pairs, fill, to)
    for axis, pair in enumerate(pairs):
        if any(pair):
            before, n, after = prod(x.shape[:axis]), x.shape[axis], prod(x.shape[axis + 1 :])
            view = b.reshape(x, (before, n, after))
            wider = b.temp("wider", x, (before, n + sum(pair), after))
            padded = _pad(b, view, [(0, 0), pair, (0, 0)], fill, wider)
            x = b.reshape(padded, (*x.shape[:axis], n + sum(pair), *x.shape[axis + 1 :]))
    return b.reshape(x, to.shape, to)


def _fill(b: NodeBuilder, x: Tensor, value: Tensor | None) -> Tensor | None:
    """None pads with zero."""
    if value is None or (value.data is not None and value.data.item() == 0):
        return None
    if value.data is not None:
        return b.scalar(value.data.item(), x, "value")
    if x.is_int8:
        b.refuse("a computed pad value in int8")
    return b.reshape(value, ())


def _pad(b: NodeBuilder, x: Tensor, pairs: Pairs, fill: Tensor | None, to: Tensor) -> Tensor:
    paddings = b.integers(pairs, "paddings")
    if fill is None:
        return b.emit("PAD", [x, paddings], to=to)
    return b.emit("PADV2", [x, paddings, fill], to=to)


def _picked(b: NodeBuilder, x: Tensor, pairs: Pairs, mode: Mode) -> Tensor:
    """Axis by axis, the indices that the pads repeat: GATHER copies whole rows, MIRROR_PAD is 7 to 38 times slower."""
    padded = [axis for axis, pair in enumerate(pairs) if any(pair)]
    for axis in padded:
        indices = np.pad(np.arange(x.shape[axis], dtype=np.int32), pairs[axis], mode)
        to = b.y if axis == padded[-1] else b.temp("picked", x, _longer(x.shape, axis, len(indices)))
        x = b.emit("GATHER", [x, b.integers(indices, "indices")], {"axis": axis, "batchDims": 0}, to=to)
    return x


def _longer(shape: Sequence[int], axis: int, length: int) -> tuple[int, ...]:
    return (*shape[:axis], length, *shape[axis + 1 :])
