"""Pools. Global ones are reductions over the spatial axes, as Core ML's own converters write them."""

from collections.abc import Sequence
from functools import reduce
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from edgewright.export.coreml.builder import MilBuilder, Value, interleaved
from edgewright.export.coreml.fitting import real
from edgewright.export.coreml.lowerings import COREML
from edgewright.export.coreml.windows import Ints, ceil_excess, explicit_padding, windows_counted

if TYPE_CHECKING:
    import onnx_ir as ir


def _plain_max(node: "ir.Node") -> bool:
    indices = node.outputs[1] if len(node.outputs) > 1 else None
    read = indices is not None and bool(indices.name) and (bool(indices.uses()) or indices.is_graph_output())
    return real(node) and not read


@COREML.lower("MaxPool", layout="nchw", fits=_plain_max)
def max_pool(
    b: MilBuilder,
    x: Value,
    *,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,  # noqa: ARG001 (the output's length tells)
    dilations: Ints = None,
    kernel_shape: Ints,
    pads: Ints = None,
    storage_order: int = 0,  # noqa: ARG001 (orders the indices)
    strides: Ints = None,
) -> Value:
    sizes, steps, begins, ends, excess = window(b, x, auto_pad, dilations, kernel_shape, pads, strides)
    if dilations and set(dilations) != {1}:
        around = interleaved([0, 0, *begins], [0, 0, *(end + n for end, n in zip(ends, excess))])
        padded = b.mb.pad(x=x, pad=around, mode="constant", constant_val=b.real(-np.inf)) if any(around) else x
        return largest_of_taps(b, padded, sizes, steps, dilations)
    return b.mb.max_pool(
        x=x,
        kernel_sizes=sizes,
        strides=steps,
        pad_type="custom",
        pad=interleaved(begins, [end + n for end, n in zip(ends, excess)]),
        ceil_mode=False,
    )


def largest_of_taps(
    b: MilBuilder, x: Value, sizes: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> Value:
    """A dilated window, which MIL's pools lack: the maximum of as many strided slices as the window has elements."""
    outputs, rank = b.shape()[2:], len(x.shape)
    taps = [
        b.mb.slice_by_index(
            x=x,
            begin=[0, 0, *starts],
            end=[*x.shape[:2], *(start + (n - 1) * s + 1 for start, n, s in zip(starts, outputs, strides))],
            stride=[1, 1, *strides],
            begin_mask=[False] * rank,
            end_mask=[False] * rank,
            squeeze_mask=[False] * rank,
        )
        for starts in product(*(range(0, k * d, d) for k, d in zip(sizes, dilations)))
    ]
    return reduce(lambda one, other: b.mb.maximum(x=one, y=other), taps)


@COREML.lower("AveragePool", layout="nchw", fits=real)
def average_pool(
    b: MilBuilder,
    x: Value,
    *,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,  # noqa: ARG001 (the output's length tells)
    count_include_pad: int = 0,
    dilations: Ints = None,
    kernel_shape: Ints,
    pads: Ints = None,
    strides: Ints = None,
) -> Value:
    apart = dilations or (1,) * len(kernel_shape or ())
    sizes, steps, begins, ends, excess = window(b, x, auto_pad, apart, kernel_shape, pads, strides)
    if set(apart) != {1} or (count_include_pad and any(excess)):
        counted = windows_counted(
            b.shape()[2:], x.shape[2:], sizes, steps, apart, begins, ends, padding=bool(count_include_pad)
        )
        summed = b.mb.conv(
            x=x,
            weight=np.ones((x.shape[1], 1, *sizes), b.dtype),
            strides=steps,
            pad_type="custom",
            pad=interleaved(begins, [end + n for end, n in zip(ends, excess)]),
            dilations=list(apart),
            groups=x.shape[1],
        )
        return b.mb.mul(x=summed, y=b.real(1 / counted[None, None]))
    return b.mb.avg_pool(
        x=x,
        kernel_sizes=sizes,
        strides=steps,
        pad_type="custom",
        pad=interleaved(begins, [end + n for end, n in zip(ends, excess)]),
        exclude_padding_from_average=not count_include_pad,
        ceil_mode=False,
    )


@COREML.lower("GlobalAveragePool", layout="nchw")
def global_average_pool(b: MilBuilder, x: Value) -> Value:
    return b.mb.reduce_mean(x=x, axes=list(range(2, len(x.shape))), keep_dims=True)


@COREML.lower("GlobalMaxPool", layout="nchw")
def global_max_pool(b: MilBuilder, x: Value) -> Value:
    return b.mb.reduce_max(x=x, axes=list(range(2, len(x.shape))), keep_dims=True)


def window(
    b: MilBuilder, x: Value, auto_pad: str, dilations: Ints, kernel: Ints, pads: Ints, strides: Ints
) -> tuple[list[int], list[int], list[int], list[int], list[int]]:
    """Kernel, strides, begins, ends, and how far windows reach beyond the padding (ceil_mode)."""
    sizes, lengths = list(kernel or ()), x.shape[2:]
    steps, apart = list(strides or (1,) * len(sizes)), dilations or (1,) * len(sizes)
    begins, ends = explicit_padding(auto_pad, pads, lengths, sizes, steps, apart)
    reach = [(k - 1) * d + 1 for k, d in zip(sizes, apart)]
    return sizes, steps, begins, ends, ceil_excess(b.shape()[2:], lengths, begins, ends, reach, steps)
