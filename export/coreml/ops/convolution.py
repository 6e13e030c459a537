"""Convolutions, in one to three dimensions. MIL keeps ONNX's layouts of data and weights."""

from collections.abc import Sequence

from edgewright.export.coreml.builder import MilBuilder, Value, interleaved, is_compressed
from edgewright.export.coreml.lowerings import COREML
from edgewright.export.coreml.windows import Ints, explicit_padding, transposed_padding


@COREML.lower("Conv", layout="nchw")
def conv(
    b: MilBuilder,
    x: Value,
    w: Value,
    bias: Value = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Ints = None,
    group: int = 1,
    kernel_shape: Ints = None,
    pads: Ints = None,
    strides: Ints = None,
) -> Value:
    spatial = len(x.shape) - 2
    check_weight(b, w, bias)
    strides, dilations = strides or (1,) * spatial, dilations or (1,) * spatial
    kernel = kernel_shape or w.shape[2:]
    begins, ends = explicit_padding(auto_pad, pads, x.shape[2:], kernel, strides, dilations)
    if min(begins + ends) < 0:
        raise b.refusal("negative padding")
    return b.mb.conv(
        x=x,
        weight=w,
        bias=bias,
        strides=list(strides),
        pad_type="custom",
        pad=interleaved(begins, ends),
        dilations=list(dilations),
        groups=group,
    )


@COREML.lower("ConvTranspose", layout="nchw")
def conv_transpose(
    b: MilBuilder,
    x: Value,
    w: Value,
    bias: Value = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Ints = None,
    group: int = 1,
    kernel_shape: Ints = None,
    output_padding: Ints = None,
    output_shape: Ints = None,
    pads: Ints = None,
    strides: Ints = None,
) -> Value:
    spatial = len(x.shape) - 2
    check_weight(b, w, bias)
    strides, dilations = strides or (1,) * spatial, dilations or (1,) * spatial
    kernel, more = kernel_shape or w.shape[2:], output_padding or (0,) * spatial
    given: Sequence[int] | None = None
    if output_shape is None and auto_pad in ("NOTSET", "VALID"):
        given = pads or (0,) * 2 * spatial
    begins, ends = transposed_padding(
        given, b.shape()[2:], x.shape[2:], kernel, strides, dilations, more, lower=auto_pad != "SAME_UPPER"
    )
    beyond = [max(-n, 0) for n in begins + ends]
    made = b.mb.conv_transpose(
        x=x,
        weight=w,
        bias=None if any(beyond) else bias,
        pad=interleaved([max(n, 0) for n in begins], [max(n, 0) for n in ends]),
        pad_type="custom",
        strides=list(strides),
        dilations=list(dilations),
        groups=group,
    )
    if not any(beyond):
        return made
    around = interleaved([0, 0, *beyond[:spatial]], [0, 0, *beyond[spatial:]])
    made = b.mb.pad(x=made, pad=around, mode="constant", constant_val=b.real(0.0))  # where no window reaches
    return made if bias is None else b.mb.add(x=made, y=bias.reshape(-1, *(1,) * spatial))


def check_weight(b: MilBuilder, weight: Value, bias: Value) -> None:
    """The weight must be an array or a compressed constant, the bias an array. Raises UnsupportedOps."""
    if not is_compressed(weight):
        b.constant(weight, "weight")
    if bias is not None:
        b.constant(bias, "bias")
