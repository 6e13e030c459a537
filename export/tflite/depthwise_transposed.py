"""A depthwise transposed convolution: a depthwise convolution of the input with zeros between its elements."""

import numpy as np

from edgewright.export.tflite.node_builder import NodeBuilder
from edgewright.export.tflite.tensor import Quantization, Tensor
from edgewright.export.tflite.window import Window


def depthwise_transposed(b: NodeBuilder, x: Tensor, w: Tensor, bias: Tensor, view: Window) -> Tensor:
    """TRANSPOSE_CONV has no groups, and one operator a channel would be many.

    `w` is [C, multiplier, (height,) width] with one group a channel, `view` the window as it slides over the output.
    """
    spread = _with_zeros_between(b, x, view)
    pads = [
        (kernel - 1 - begin, max(out + begin - length, 0))
        for kernel, (begin, _), out, length in zip(view.kernel, view.declared, view.size, spread.shape[1:3])
    ]
    if any(map(any, pads)):
        around = [(0, 0), *pads, (0, 0)]
        shape = [length + begin + end for length, (begin, end) in zip(spread.shape, around)]
        spread = b.emit("PAD", [spread, b.integers(around, "around")], to=b.temp("around", x, shape))
    made = [length - kernel + 1 for length, kernel in zip(spread.shape[1:3], view.kernel)]
    whole = b.y if tuple(made) == view.size else b.temp("whole", b.y, (b.y.shape[0], *made, b.y.shape[3]))
    options = {
        "padding": "VALID",
        **dict.fromkeys(("strideH", "strideW", "dilationHFactor", "dilationWFactor"), 1),
        "depthMultiplier": w.shape[1],
        "fusedActivationFunction": "NONE",
    }
    b.emit("DEPTHWISE_CONV_2D", [spread, _flipped(b, w, view), bias], options, to=whole)
    if whole is b.y:
        return whole
    return b.emit("SLICE", [whole, b.integers([0, 0, 0, 0], "begin"), b.integers(b.y.shape, "size")])


def _with_zeros_between(b: NodeBuilder, x: Tensor, view: Window) -> Tensor:
    """Each element followed by stride − 1 zeros along both axes: rows, then columns, as pads of an axis of one."""
    batch, height, width, channels = x.shape
    rows, columns = view.strides
    x = _padded_rows(b, x, batch * height * width, channels, columns)
    x = _padded_rows(b, x, batch * height, width * columns * channels, rows)
    return b.reshape(x, (batch, height * rows, width * columns, channels))


def _padded_rows(b: NodeBuilder, x: Tensor, rows: int, length: int, stride: int) -> Tensor:
    if stride == 1:
        return x
    pads = b.integers([(0, 0), (0, stride - 1), (0, 0)], "zeros")
    spread = b.temp(f"spread{rows}", x, (rows, stride, length))
    return b.emit("PAD", [b.reshape(x, (rows, 1, length)), pads], to=spread)


def _flipped(b: NodeBuilder, w: Tensor, view: Window) -> Tensor:
    """[1, height, width, C · multiplier], turned around."""
    data = b.need_constant(w, "depthwise transposed weights")
    channels, multiplier = w.shape[:2]
    image = data.reshape(channels * multiplier, *view.kernel)[:, ::-1, ::-1]
    quantization = w.quantization
    if quantization is not None and quantization.scale.size > 1:
        scale, zero_point = np.tile(quantization.scale, channels), np.tile(quantization.zero_point, channels)
        quantization = Quantization(scale, zero_point, 3)
    return b.constant(image.transpose(1, 2, 0)[None], w.name, quantization)
