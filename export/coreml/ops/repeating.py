"""Elements repeated, counted up, or turned round."""

import numpy as np

from edgewright.export.coreml.builder import MilBuilder, Value
from edgewright.export.coreml.fitting import numbers, real
from edgewright.export.coreml.lowerings import COREML


@COREML.lower("Expand", layout="nchw")
def expand(b: MilBuilder, x: Value, shape: Value) -> Value:  # noqa: ARG001 (the output's shape tells)
    return b.expanded(x, b.shape())


@COREML.lower("Tile", layout="nchw")
def tile(b: MilBuilder, x: Value, repeats: Value) -> Value:
    return b.mb.tile(x=x, reps=b.integers(repeats, "repeats"))


@COREML.lower("CumSum", layout="axis", fits=numbers)
def cumsum(b: MilBuilder, x: Value, axis: Value, *, exclusive: int = 0, reverse: int = 0) -> Value:
    [along] = b.integers(axis, "axis")
    return b.mb.cumsum(x=x, axis=along % len(x.shape), exclusive=bool(exclusive), reverse=bool(reverse))


@COREML.lower("ReverseSequence", layout="nchw")
def reverse_sequence(b: MilBuilder, x: Value, lengths: Value, *, batch_axis: int = 1, time_axis: int = 0) -> Value:
    return b.mb.reverse_sequence(x=x, lengths=lengths, seq_axis=time_axis, batch_axis=batch_axis)


@COREML.lower("SpaceToDepth", layout="nchw", fits=real)
def space_to_depth(b: MilBuilder, x: Value, *, blocksize: int) -> Value:
    return b.mb.space_to_depth(x=x, block_size=blocksize)


@COREML.lower("OneHot", layout="nchw")
def one_hot(b: MilBuilder, indices: Value, depth: Value, values: Value, *, axis: int = -1) -> Value:  # noqa: ARG001
    """A comparison with 0, 1, …: an index that is out of range is equal to none."""
    after = b.shape()
    along = axis % len(after)
    length, real_indices = after[along], b.is_real(indices)
    kind = b.dtype if real_indices else np.int32
    steps = np.arange(length, dtype=kind).reshape([-1 if at == along else 1 for at in range(len(after))])
    places = (
        np.expand_dims(indices, along) if isinstance(indices, np.ndarray) else b.mb.expand_dims(x=indices, axes=[along])
    )
    shifted = b.mb.add(x=places, y=kind(length))
    counted = b.mb.select(cond=b.mb.less(x=places, y=kind(0)), a=shifted, b=places)
    off, on = (b.typed(one, values) for one in _both(b, b.number(values)))
    return b.chosen(b.mb.equal(x=counted, y=steps), on, off)


def _both(b: MilBuilder, values: Value) -> tuple[Value, Value]:
    if isinstance(values, np.ndarray):
        return values[0], values[1]
    off, on = b.mb.split(x=values, split_sizes=[1, 1], axis=0)
    return b.mb.squeeze(x=off, axes=[0]), b.mb.squeeze(x=on, axes=[0])
