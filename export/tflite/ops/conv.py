"""Convolutions: CONV_2D, DEPTHWISE_CONV_2D, TRANSPOSE_CONV; one spatial axis runs as a height of 1."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    kernel_shape: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Tensor:
    weights = _spread(b, w)
    kernel = w.shape[2:] if kernel_shape is None else kernel_shape
    view = window(kernel, strides, dilations, pads, auto_pad, x.shape[1:3], b.y.shape[1:3])
    x, padding = padded(b, x, view)
    options = {
        "padding": padding,
        "strideH": view.strides[0],
        "strideW": view.strides[1],
        "dilationHFactor": view.dilations[0],
        "dilationWFactor": view.dilations[1],
        "fusedActivationFunction": b.activation,
    }
    if group == x.shape[3] and group > 1:
        return _depthwise(b, x, weights, w, bias, options)
    ohwi = _weights(b, np.moveaxis(weights, 1, -1), w, 0)
    return b.emit("CONV_2D", [x, ohwi, bias_of(b, bias, len(weights), x, w)], options)


def _depthwise(
    b: NodeBuilder, x: Tensor, weights: NDArray[Any], w: Tensor, bias: Tensor | None, options: Mapping[str, Any]
) -> Tensor:
    hwo = _weights(b, weights.transpose(1, 2, 3, 0), w, 3)
    multiplier = len(weights) // x.shape[3]
    inputs = [x, hwo, bias_of(b, bias, len(weights), x, w)]
    return b.emit("DEPTHWISE_CONV_2D", inputs, {**options, "depthMultiplier": multiplier})


@TFLITE.lower("ConvTranspose", layout="nhwc")
def conv_transpose(
    b: NodeBuilder,
    x: Tensor,
    w: Tensor,
    bias: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Sequence[int] | None = None,
    group: int = 1,
    kernel_shape: Sequence[int] | None = None,  # noqa: ARG001
    output_padding: Sequence[int] | None = None,  # noqa: ARG001
    output_shape: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Tensor:
    if group != 1 or set(dilations or (1,)) != {1} or auto_pad != "NOTSET" or output_shape is not None:
        b.refuse("TRANSPOSE_CONV has no groups, dilations or output_shape")
    weights = _spread(b, w)
    # Seen from the output, a transposed convolution slides over it as a convolution slides over its input.
    view = window(w.shape[2:], strides, None, pads, "NOTSET", b.y.shape[1:3], x.shape[1:3])
    begins = [begin for begin, _ in view.pads]
    full = [(n - 1) * s + k for n, s, k in zip(x.shape[1:3], view.strides, view.kernel)]
    exact = view.padding
    if exact is None or (exact == "VALID" and list(b.y.shape[1:3]) != full):
        if any(begin + n > m for begin, n, m in zip(begins, b.y.shape[1:3], full)):
            b.refuse("output_padding that reaches beyond the last window")
        exact = None
    ohwi = _weights(b, weights.transpose(1, 2, 3, 0), w, 0, channels_axis=1)
    target = b.y if exact else b.temp("full", b.y, (b.y.shape[0], *full, b.y.shape[3]))
    inputs = [b.integers(target.shape, "output_shape"), ohwi, x, bias_of(b, bias, weights.shape[1], x, w)]
    options = {"padding": exact or "VALID", "strideH": view.strides[0], "strideW": view.strides[1]}
    b.emit("TRANSPOSE_CONV", inputs, options, to=target)
    if exact:
        return target
    return b.emit("SLICE", [target, b.integers([0, *begins, 0], "begin"), b.integers(b.y.shape, "size")])


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


def _spread(b: NodeBuilder, w: Tensor) -> NDArray[Any]:
    """Constant weights with two spatial axes."""
    if len(w.shape) not in (3, 4):
        b.refuse(f"{len(w.shape) - 2} spatial axes; TFLite convolves over 1 or 2")
    data = b.need_constant(w, "the weights")
    return data if data.ndim == 4 else data[:, :, None, :]


def _weights(b: NodeBuilder, data: NDArray[Any], w: Tensor, axis: int, *, channels_axis: int = 0) -> Tensor:
    quantization = w.quantization
    if quantization is not None:
        if quantization.scale.size > 1 and quantization.axis != channels_axis:
            raise Error(
                f"{w.name}: scales run along axis {quantization.axis}, its output channels along {channels_axis}"
            )
        if np.any(quantization.zero_point):
            raise Error(f"{w.name}: TFLite's int8 weights are symmetric; its zero point is not 0")
        quantization = quantization.along(axis)
    return b.constant(np.ascontiguousarray(data), w.name, quantization)
