"""Convolutions: CONV_2D and DEPTHWISE_CONV_2D; one spatial axis runs as a height of 1, three as channels of two."""

from collections.abc import Sequence

import numpy as np

from edgewright.errors import Error
from edgewright.export.tflite.node_builder import NodeBuilder
from edgewright.export.tflite.rules import TFLITE
from edgewright.export.tflite.tensor import Quantization, Tensor
from edgewright.export.tflite.window import Window, window

BIAS_SCALE_TOLERANCE = 1e-3  # relative; the bias is written at the scale of the file, the kernel takes s_in·s_w


@TFLITE.lower("Conv", layout="nhwc")
def conv(
    b: NodeBuilder,
    x: Tensor,
    w: Tensor,
    bias: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Sequence[int] | None = None,
    group: int = 1,
    kernel_shape: Sequence[int] | None = None,  # noqa: ARG001
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Tensor:
    check_spatial(b, w)
    view = window(w.shape[2:], strides, dilations, pads, auto_pad, x.shape[1:-1], b.y.shape[1:-1])
    shift = bias_of(b, bias, w.shape[0], x, w)
    if len(view.kernel) == 3:
        return _over_depth(b, x, w, shift, group, view)
    return _over_image(b, x, w, shift, view, b.y)


def _over_image(b: NodeBuilder, x: Tensor, w: Tensor, bias: Tensor, view: Window, to: Tensor) -> Tensor:
    depthwise = w.shape[1] == 1 and x.shape[3] > 1
    x, padding = padded(b, x, view)
    options = {
        "padding": padding,
        "strideH": view.strides[0],
        "strideW": view.strides[1],
        "dilationHFactor": view.dilations[0],
        "dilationWFactor": view.dilations[1],
        "fusedActivationFunction": b.activation,
    }
    if not depthwise:
        return b.emit("CONV_2D", [x, arranged(b, w, "OHWI"), bias], options, to=to)
    options["depthMultiplier"] = w.shape[0] // x.shape[3]
    return b.emit("DEPTHWISE_CONV_2D", [x, arranged(b, w, "IHWO"), bias], options, to=to)


def _over_depth(b: NodeBuilder, x: Tensor, w: Tensor, bias: Tensor, group: int, view: Window) -> Tensor:
    """The images under each row of the kernel's depth, as channels of one image.

    One CONV_2D, in int8 as in float: CONV_3D knows neither int8 nor groups, and no delegate runs it.
    """
    batch, _, height, width, channels = x.shape
    rows = b.reshape(x, (batch, x.shape[1], height * width * group, channels // group))
    slabs = taps_along(b, pad_along(b, rows, view, 0), view, 0)
    if len(slabs) > 1:
        joined = b.temp("taps", x, (*slabs[0].shape[:3], channels // group * len(slabs)))
        slabs = [b.emit("CONCATENATION", slabs, {"axis": 3, "fusedActivationFunction": "NONE"}, to=joined)]
    images = batch * view.out[0]
    image = b.reshape(slabs[0], (images, height, width, channels * view.kernel[0]))
    made = b.temp("images", b.y, (images, *b.y.shape[2:]))
    return b.reshape(_over_image(b, image, _depth_as_channels(b, w), bias, view.along(1, 2), made), b.y.shape, b.y)


def _depth_as_channels(b: NodeBuilder, w: Tensor) -> Tensor:
    """O×I×D×H×W → O×(D·I)×H×W."""
    outputs, inputs, depth, *image = w.shape
    order, shape = (0, 2, 1, 3, 4), (outputs, depth * inputs, *image)
    if w.data is None:
        return b.reshape(b.transpose(w, order), shape)
    return b.constant(w.data.transpose(order).reshape(shape), w.name, w.quantization)


def pad_along(b: NodeBuilder, x: Tensor, view: Window, axis: int, value: Tensor | None = None) -> Tensor:
    """x [N,length,rows,C], whose second axis is one of the window's, with the pads of that axis."""
    begin, end = view.pads[axis]
    if (begin, end) == (0, 0):
        return x
    pairs = b.integers([(0, 0), (begin, end), (0, 0), (0, 0)], "paddings")
    to = b.temp("longer", x, (x.shape[0], x.shape[1] + begin + end, *x.shape[2:]))
    return b.emit("PAD", [x, pairs], to=to) if value is None else b.emit("PADV2", [x, pairs, value], to=to)


def taps_along(b: NodeBuilder, x: Tensor, view: Window, axis: int) -> list[Tensor]:
    """What each element of the kernel sees along one axis of the window, the second of the padded x [N,length,rows,C]:
    [N,windows,rows,C] each."""
    step, count = view.strides[axis], view.out[axis]
    return [_every(b, x, tap * view.dilations[axis], step, count) for tap in range(view.kernel[axis])]


def _every(b: NodeBuilder, x: Tensor, first: int, step: int, count: int) -> Tensor:
    if (first, step, count) == (0, 1, x.shape[1]):
        return x
    shape = (x.shape[0], count, *x.shape[2:])
    begin, taken = b.integers([0, first, 0, 0], "begin"), b.temp(f"from{first}", x, shape)
    if step == 1:
        return b.emit("SLICE", [x, begin, b.integers(shape, "size")], to=taken)
    end = b.integers([x.shape[0], first + step * (count - 1) + 1, *x.shape[2:]], "end")
    return b.emit("STRIDED_SLICE", [x, begin, end, b.integers([1, step, 1, 1], "strides")], {}, to=taken)


def padded(b: NodeBuilder, x: Tensor, view: Window) -> tuple[Tensor, str]:
    """x and the padding to run with: padded with zeros (int8: the zero point) where neither SAME nor VALID is exact."""
    return (pad_spatial(b, x, view), "VALID") if view.padding is None else (x, view.padding)


def pad_spatial(b: NodeBuilder, x: Tensor, view: Window, value: Tensor | None = None) -> Tensor:
    """x with the pads of the window around it, of zeros or of `value`."""
    pads = [(0, 0), *view.pads, (0, 0)]
    shape = [n + begin + end for n, (begin, end) in zip(x.shape, pads)]
    inputs = [x, b.integers(pads, "paddings"), *([] if value is None else [value])]
    return b.emit("PAD" if value is None else "PADV2", inputs, to=b.temp("padded", x, shape))


def bias_of(b: NodeBuilder, bias: Tensor | None, channels: int, x: Tensor, w: Tensor) -> Tensor:
    """The bias as a kernel takes it: [channels], float32 or int32 at scale s_in·s_w; zeros where ONNX has none."""
    name = f"{b.y.name}/bias" if bias is None else bias.name
    if x.quantization is None or w.quantization is None:
        if bias is not None and bias.data is None:
            return b.reshape(bias, (channels,))
        values = np.zeros(channels, np.float32) if bias is None else b.need_constant(bias, "the bias")
        return b.constant(values.reshape(channels), name)
    product = (x.quantization.scale * w.quantization.scale).astype(np.float32)
    if bias is None:
        zeros = Quantization(product, np.zeros(product.size, np.int64))
        return b.constant(np.zeros(channels, np.int32), name, zeros)
    values, held = b.need_constant(bias, "the bias"), bias.quantization
    if held is None or bias.dtype != np.int32:
        b.refuse("an int8 operator needs an int32 bias")
    if not np.allclose(held.scale, product, rtol=BIAS_SCALE_TOLERANCE, atol=0):
        raise Error(f"{b.name}: the scale of its bias is not scale(input) × scale(weights); quantize it so")
    return b.constant(values.reshape(channels), name, held.along(0))


def check_spatial(b: NodeBuilder, w: Tensor) -> None:
    if len(w.shape) not in (3, 4, 5):
        b.refuse(f"{len(w.shape) - 2} spatial axes; TFLite convolves over 1 to 3")


def arranged(b: NodeBuilder, w: Tensor, order: str, *, given: str = "OIHW") -> Tensor:
    """Weights with one or two spatial axes, held in the order `given`, in the order that a kernel reads."""
    shape = w.shape if len(w.shape) == 4 else (*w.shape[:2], 1, *w.shape[2:])
    axes = tuple(given.index(axis) for axis in order)
    if w.data is None:
        if w.is_int8:
            b.refuse("int8 weights must be constant")
        return b.transpose(b.reshape(w, shape), axes)
    quantization, channels = w.quantization, given.index("O")
    if quantization is not None:
        if quantization.scale.size > 1 and quantization.axis != channels:
            raise Error(f"{w.name}: scales run along axis {quantization.axis}, its output channels along {channels}")
        if np.any(quantization.zero_point):
            raise Error(f"{w.name}: TFLite's int8 weights are symmetric; its zero point is not 0")
        quantization = quantization.along(order.index("O"))
    return b.constant(w.data.reshape(shape).transpose(axes), w.name, quantization)
