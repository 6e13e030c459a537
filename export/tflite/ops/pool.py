"""Pools over one to three spatial axes. Global ones are reductions, which LiteRT rounds without bias."""

from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from edgewright.export.tflite.node_builder import NodeBuilder
from edgewright.export.tflite.ops.conv import pad_along, pad_spatial, padded, taps_along
from edgewright.export.tflite.rules import TFLITE
from edgewright.export.tflite.tensor import Tensor
from edgewright.export.tflite.window import Window, window

if TYPE_CHECKING:
    import onnx_ir as ir

GLOBAL = {"GlobalAveragePool": "MEAN", "GlobalMaxPool": "REDUCE_MAX"}

Pool = Callable[[NodeBuilder, Tensor, Window, Tensor, str], Tensor]
"""Over an image, into a tensor, with an activation."""


def _gives_values_of_floats(node: "ir.Node") -> bool:
    kind = node.inputs[0].dtype if node.inputs[0] is not None else None
    return kind is not None and kind.name == "FLOAT" and len([output for output in node.outputs if output.name]) == 1


@TFLITE.lower("MaxPool", layout="nhwc", fits=_gives_values_of_floats)
def max_pool(
    b: NodeBuilder,
    x: Tensor,
    *,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,  # noqa: ARG001
    dilations: Sequence[int] | None = None,
    kernel_shape: Sequence[int],
    pads: Sequence[int] | None = None,
    storage_order: int = 0,  # noqa: ARG001
    strides: Sequence[int] | None = None,
) -> Tensor:
    return _over(b, x, _view(b, x, kernel_shape, strides, dilations, pads, auto_pad), _max)


@TFLITE.lower("AveragePool", layout="nhwc")
def average_pool(
    b: NodeBuilder,
    x: Tensor,
    *,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,  # noqa: ARG001
    count_include_pad: int = 0,
    dilations: Sequence[int] | None = None,
    kernel_shape: Sequence[int],
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Tensor:
    view = _view(b, x, kernel_shape, strides, dilations, pads, auto_pad)
    return _over(b, x, view, partial(_average, bool(count_include_pad)))


@TFLITE.lower("GlobalAveragePool", "GlobalMaxPool", layout="nhwc")
def global_pool(b: NodeBuilder, x: Tensor) -> Tensor:
    axes = sorted(b.axis(axis) for axis in range(2, b.rank))
    return b.emit(GLOBAL[b.op_type], [x, b.integers(axes, "axes")], {"keepDims": True})


def _view(
    b: NodeBuilder,
    x: Tensor,
    kernel: Sequence[int],
    strides: Sequence[int] | None,
    dilations: Sequence[int] | None,
    pads: Sequence[int] | None,
    auto_pad: str,
) -> Window:
    if len(kernel) > 3:
        b.refuse(f"{len(kernel)} spatial axes; TFLite pools over 1 to 3")
    return window(kernel, strides, dilations, pads, auto_pad, x.shape[1:-1], b.y.shape[1:-1])


def _over(b: NodeBuilder, x: Tensor, view: Window, pool: Pool) -> Tensor:
    """The pool over the image; with a third axis first over height and width, then over the depth alone."""
    if len(view.kernel) == 2:
        return pool(b, x, view, b.y, b.activation)
    batch, depth, _, _, channels = x.shape
    _, windows, height, width, _ = b.y.shape
    images = b.reshape(x, (batch * depth, *x.shape[2:]))
    flat = pool(b, images, view.along(1, 2), b.temp("flat", x, (batch * depth, height, width, channels)), "NONE")
    columns = b.reshape(flat, (batch, 1, depth, height * width * channels))
    deep = b.temp("deep", x, (batch, 1, windows, height * width * channels))
    return b.reshape(pool(b, columns, view.along(0), deep, b.activation), b.y.shape, b.y)


def _max(b: NodeBuilder, x: Tensor, view: Window, to: Tensor, activation: str) -> Tensor:
    lowest = np.array(-128, np.int8) if x.is_int8 else np.array(np.finfo(np.float32).min, np.float32)
    least = b.constant(lowest, f"{b.y.name}/lowest", x.quantization)
    if set(view.dilations) != {1}:
        return _dilated_max(b, x, view, least, to, activation)
    padding = view.padding
    if padding is None:
        x = pad_spatial(b, x, view, least)
    return _pool(b, "MAX_POOL_2D", x, view, padding or "VALID", to, activation)


def _dilated_max(b: NodeBuilder, x: Tensor, view: Window, least: Tensor, to: Tensor, activation: str) -> Tensor:
    """No kernel is dilated: the maximum of shifted rows, then of shifted columns."""
    batch, height, width, channels = x.shape
    rows = b.reshape(x, (batch, height, width, channels))
    tall = _max_along(b, pad_along(b, rows, view, 0, least), view, 0)
    columns = b.reshape(tall, (batch * view.out[0], width, 1, channels))
    wide = b.reshape(_max_along(b, pad_along(b, columns, view, 1, least), view, 1), to.shape)
    return b.emit(activation, [wide], to=to) if activation != "NONE" else b.reshape(wide, to.shape, to)


def _max_along(b: NodeBuilder, x: Tensor, view: Window, axis: int) -> Tensor:
    largest, *others = taps_along(b, x, view, axis)
    for number, tap in enumerate(others):
        largest = b.emit("MAXIMUM", [largest, tap], to=b.temp(f"largest{axis}_{number}", largest))
    return largest


def _average(count_pads: bool, b: NodeBuilder, x: Tensor, view: Window, to: Tensor, activation: str) -> Tensor:
    """Sums divided by ONNX's counts: those of AVERAGE_POOL_2D where they agree, else corrected by a factor."""
    padding = view.padding
    if set(view.dilations) == {1} and (padding == "VALID" or (padding == "SAME" and not count_pads)):
        return _pool(b, "AVERAGE_POOL_2D", x, view, padding, to, activation)
    rows, columns = (view.counts(axis, declared=count_pads) for axis in range(2))
    factors = (prod(view.kernel) / np.outer(rows, columns)).astype(np.float32)[None, :, :, None]
    if np.all(factors == 1):
        return _mean_with_pads(b, x, view, to, activation)
    b.need_float()
    means = _mean_with_pads(b, x, view, b.temp("with_pads", to), "NONE")
    corrected = b.constant(factors, f"{b.y.name}/counts")
    return b.emit("MUL", [means, corrected], {"fusedActivationFunction": activation}, to=to)


def _mean_with_pads(b: NodeBuilder, x: Tensor, view: Window, to: Tensor, activation: str) -> Tensor:
    if set(view.dilations) == {1}:
        return _pool(b, "AVERAGE_POOL_2D", pad_spatial(b, x, view), view, "VALID", to, activation)
    b.need_float()
    x, padding = padded(b, x, view)
    share = np.full((1, *view.kernel, x.shape[3]), 1 / prod(view.kernel), np.float32)
    none = np.zeros(x.shape[3], np.float32)
    options = {
        "padding": padding,
        "strideH": view.strides[0],
        "strideW": view.strides[1],
        "dilationHFactor": view.dilations[0],
        "dilationWFactor": view.dilations[1],
        "depthMultiplier": 1,
        "fusedActivationFunction": activation,
    }
    inputs = [x, b.constant(share, f"{b.y.name}/share"), b.constant(none, f"{b.y.name}/none")]
    return b.emit("DEPTHWISE_CONV_2D", inputs, options, to=to)


def _pool(b: NodeBuilder, code: str, x: Tensor, view: Window, padding: str, to: Tensor, activation: str) -> Tensor:
    options = {
        "padding": padding,
        "strideH": view.strides[0],
        "strideW": view.strides[1],
        "filterHeight": view.kernel[0],
        "filterWidth": view.kernel[1],
        "fusedActivationFunction": activation,
    }
    return b.emit(code, [x], options, to=to)
