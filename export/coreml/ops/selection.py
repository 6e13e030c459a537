"""Parts and wholes: concatenate, split, slice, gather, pad."""

import numpy as np
from numpy.typing import NDArray

from edgewright.export.coreml.builder import MilBuilder, Value, interleaved
from edgewright.export.coreml.lowerings import COREML

PAD_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}


@COREML.lower("Concat", layout="axis")
def concat(b: MilBuilder, *xs: Value, axis: int) -> Value:
    """Empty parts, which MIL has none of, add nothing."""
    parts = [x for x in xs if 0 not in x.shape]
    return b.mb.concat(values=parts, axis=axis, interleave=False) if len(parts) > 1 else parts[0]


@COREML.lower("Split", layout="axis")
def split(b: MilBuilder, x: Value, split: Value = None, *, axis: int = 0, num_outputs: int | None = None) -> Value:  # noqa: ARG001
    sizes = [b.shape(index)[axis] for index in range(len(b.node.outputs))]
    kept = [size for size in sizes if size]
    parts = iter(b.mb.split(x=x, split_sizes=kept, axis=axis) if len(kept) > 1 else [x])
    return [next(parts) if size else np.zeros(b.shape(index)) for index, size in enumerate(sizes)]


@COREML.lower("Slice", layout="axis")
def slice_(b: MilBuilder, x: Value, starts: Value, ends: Value, axes: Value = None, steps: Value = None) -> Value:
    """Python's own slice arithmetic normalises ONNX's negative and overlong positions."""
    first, last = b.integers(starts, "starts"), b.integers(ends, "ends")
    where = b.integers(axes, "axes") if axes is not None else list(range(len(first)))
    strides = b.integers(steps, "steps") if steps is not None else [1] * len(first)
    slices = [slice(None)] * len(x.shape)
    for axis, begin, end, stride in zip(where, first, last, strides, strict=True):
        slices[axis] = slice(begin, end, stride)
    rows = [part.indices(n) for part, n in zip(slices, x.shape)]
    return b.mb.slice_by_index(
        x=x,
        begin=[begin for begin, _, _ in rows],
        end=[max(end, 0) for _, end, _ in rows],
        stride=[stride for _, _, stride in rows],
        begin_mask=[False] * len(rows),
        end_mask=[end < 0 for _, end, _ in rows],  # a step backwards through element 0 has no end to name
        squeeze_mask=[False] * len(rows),
    )


@COREML.lower("Gather", layout="axis")
def gather(b: MilBuilder, x: Value, indices: Value, *, axis: int = 0) -> Value:
    """From iOS17 on a negative index is out of bounds, so it is counted from the front."""
    return b.typed(gathered(b, b.number(x), b.from_front(indices, x.shape[axis]), axis), x)


def gathered(b: MilBuilder, x: Value, indices: Value, axis: int) -> Value:
    batch = {} if b.opset < "iOS16" else {"batch_dims": 0}
    return b.mb.gather(x=x, indices=indices, axis=axis, **batch, **b.unchecked())


@COREML.lower("Pad", layout="axis")
def pad(
    b: MilBuilder, x: Value, pads: Value, constant_value: Value = None, axes: Value = None, *, mode: str = "constant"
) -> Value:
    amounts, rank = b.integers(pads, "pads"), len(x.shape)
    where = b.integers(axes, "axes") if axes is not None else list(range(rank))
    begins, ends = [0] * rank, [0] * rank
    for axis, begin, end in zip(where, amounts[: len(where)], amounts[len(where) :], strict=True):
        begins[axis], ends[axis] = begin, end
    whole = b.is_real(x) and min(amounts, default=0) >= 0 and not is_var(constant_value)
    if whole and (mode == "constant" or (mode in PAD_MODES and not any(begins[:-2] + ends[:-2]))):
        value = 0.0 if constant_value is None else float(constant_value.reshape(()))
        return b.mb.pad(x=x, pad=interleaved(begins, ends), mode=PAD_MODES[mode], constant_val=b.real(value))
    made = b.number(x)
    for axis, (begin, end) in enumerate(zip(begins, ends)):
        if begin or end:
            made = extended(b, made, axis, begin, end, mode, constant_value)
    return b.typed(made, x)


def is_var(value: Value) -> bool:
    return value is not None and not isinstance(value, np.ndarray)


def extended(b: MilBuilder, x: Value, axis: int, begin: int, end: int, mode: str, filler: Value) -> Value:
    """One axis made longer, or shorter: by picking elements, or by something to put beside them."""
    places = np.arange(-begin, x.shape[axis] + end, dtype=np.int32)
    if mode != "constant":
        return gathered(b, x, picked(places, x.shape[axis], mode), axis)
    kept = gathered(b, x, places[max(begin, 0) : len(places) - max(end, 0)], axis) if min(begin, end) < 0 else x
    sides = [filled(b, x, axis, max(begin, 0), filler), kept, filled(b, x, axis, max(end, 0), filler)]
    parts = [side for side in sides if side is not None]
    return b.mb.concat(values=parts, axis=axis, interleave=False) if len(parts) > 1 else parts[0]


def picked(places: NDArray[np.int32], length: int, mode: str) -> NDArray[np.int32]:
    if mode == "wrap":
        return places % length
    if mode == "edge":
        return np.clip(places, 0, length - 1)
    turned = places % max(2 * (length - 1), 1)
    return np.where(turned < length, turned, 2 * (length - 1) - turned)


def filled(b: MilBuilder, x: Value, axis: int, length: int, filler: Value) -> Value:
    if not length:
        return None
    shape = [length if at == axis else n for at, n in enumerate(x.shape)]
    dtype = b.dtype if b.is_real(x) else np.int32
    if not is_var(filler):
        return np.full(shape, 0 if filler is None else filler.reshape(()), dtype)
    return b.mb.mul(x=np.ones(shape, dtype), y=b.number(filler))
