"""Parts and wholes: concatenate, split, slice, gather, pad."""

import numpy as np

from edgewright.export.coreml.builder import MilBuilder, Value, interleaved
from edgewright.export.coreml.lowerings import COREML

PAD_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}


@COREML.lower("Concat", layout="axis")
def concat(b: MilBuilder, *xs: Value, axis: int) -> Value:
    return b.mb.concat(values=list(xs), axis=axis, interleave=False) if len(xs) > 1 else xs[0]


@COREML.lower("Split", layout="axis")
def split(b: MilBuilder, x: Value, split: Value = None, *, axis: int = 0, num_outputs: int | None = None) -> Value:  # noqa: ARG001
    sizes = [b.shape(index)[axis] for index in range(len(b.node.outputs))]
    return b.mb.split(x=x, split_sizes=sizes, axis=axis) if len(sizes) > 1 else x


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
    length = x.shape[axis]
    if isinstance(indices, np.ndarray):
        indices = np.where(indices < 0, indices + length, indices).astype(np.int32)
        if indices.size and (indices.min() < 0 or indices.max() >= length):
            raise b.refusal("an index out of bounds")
    else:
        from_front = b.mb.add(x=indices, y=np.int32(length))
        indices = b.mb.select(cond=b.mb.less(x=indices, y=np.int32(0)), a=from_front, b=indices)
    if b.opset < "iOS17":
        return b.mb.gather(x=x, indices=indices, axis=axis)
    return b.mb.gather(x=x, indices=indices, axis=axis, batch_dims=0, validate_indices=False)


@COREML.lower("Pad", layout="axis")
def pad(
    b: MilBuilder, x: Value, pads: Value, constant_value: Value = None, axes: Value = None, *, mode: str = "constant"
) -> Value:
    amounts = b.integers(pads, "pads")
    if not b.is_real(x):
        raise b.refusal("an integer input")
    if mode not in PAD_MODES or min(amounts, default=0) < 0:
        raise b.refusal(f"mode {mode!r}" if mode not in PAD_MODES else "negative padding")
    rank = len(x.shape)
    where = b.integers(axes, "axes") if axes is not None else list(range(rank))
    begins, ends = [0] * rank, [0] * rank
    for axis, begin, end in zip(where, amounts[: len(where)], amounts[len(where) :], strict=True):
        begins[axis], ends[axis] = begin, end
    if mode != "constant" and any(begins[:-2] + ends[:-2]):
        raise b.refusal(f"mode {mode!r} on other than the last two dimensions")
    value = 0.0 if constant_value is None else float(b.constant(constant_value, "constant_value").reshape(()))
    return b.mb.pad(x=x, pad=interleaved(begins, ends), mode=PAD_MODES[mode], constant_val=b.real(value))
