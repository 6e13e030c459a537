"""Pools. Global ones are reductions over the spatial axes, as Core ML's own converters write them."""

from edgewright.export.coreml.builder import MilBuilder, Value, interleaved
from edgewright.export.coreml.lowerings import COREML
from edgewright.export.coreml.windows import Ints, ceil_excess, explicit_padding


@COREML.lower("MaxPool", layout="nchw")
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
    b.refuse_used_output(1)
    sizes, steps, begins, ends, excess = window(b, x, auto_pad, dilations, kernel_shape, pads, strides)
    return b.mb.max_pool(
        x=x,
        kernel_sizes=sizes,
        strides=steps,
        pad_type="custom",
        pad=interleaved(begins, [end + n for end, n in zip(ends, excess)]),
        ceil_mode=False,
    )


@COREML.lower("AveragePool", layout="nchw")
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
    sizes, steps, begins, ends, excess = window(b, x, auto_pad, dilations, kernel_shape, pads, strides)
    if count_include_pad and any(excess):
        raise b.refusal("count_include_pad with a window beyond the padding")
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
    """Kernel, strides, begins, ends, and the excess of ceil_mode. Raises UnsupportedOps for a dilated window."""
    sizes = list(kernel or ())
    if dilations and set(dilations) != {1}:
        raise b.refusal("a dilated window")
    steps, lengths = list(strides or (1,) * len(sizes)), x.shape[2:]
    begins, ends = explicit_padding(auto_pad, pads, lengths, sizes, steps, (1,) * len(sizes))
    return sizes, steps, begins, ends, ceil_excess(b.shape()[2:], lengths, begins, ends, sizes, steps)
