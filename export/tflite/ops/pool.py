"""Pools over one or two spatial axes. Global ones are reductions, which LiteRT rounds without bias."""

from collections.abc import Sequence

import numpy as np

from edgewright.export.tflite.node_builder import NodeBuilder
from edgewright.export.tflite.ops.conv import pad_spatial
from edgewright.export.tflite.rules import TFLITE
from edgewright.export.tflite.tensor import Tensor
from edgewright.export.tflite.window import Window, window

GLOBAL = {"GlobalAveragePool": "MEAN", "GlobalMaxPool": "REDUCE_MAX"}


@TFLITE.lower("MaxPool", layout="nhwc")
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
    if len(b.ys) > 1:
        b.refuse("TFLite's pool gives no indices")
    view = _view(b, x, kernel_shape, strides, dilations, pads, auto_pad)
    padding = view.padding
    if padding is None:
        lowest = np.array(-128, np.int8) if x.is_int8 else np.array(np.finfo(np.float32).min, np.float32)
        x = pad_spatial(b, x, view, b.constant(lowest, f"{b.y.name}/lowest", x.quantization))
        padding = "VALID"
    return _pool(b, "MAX_POOL_2D", x, view, padding, b.y, b.activation)


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
    if view.padding == "VALID" or (view.padding == "SAME" and not count_include_pad):
        return _pool(b, "AVERAGE_POOL_2D", x, view, view.padding, b.y, b.activation)
    rows, columns = (view.counts(axis, declared=bool(count_include_pad)) for axis in range(2))
    counts = np.outer(rows, columns)
    factors = (np.prod(view.kernel) / counts).astype(np.float32)[None, :, :, None]
    x = pad_spatial(b, x, view)
    if np.all(factors == 1):
        return _pool(b, "AVERAGE_POOL_2D", x, view, "VALID", b.y, b.activation)
    b.need_float()
    means = _pool(b, "AVERAGE_POOL_2D", x, view, "VALID", b.temp("with_pads", b.y), "NONE")
    corrected = b.constant(factors, f"{b.y.name}/counts")
    return b.emit("MUL", [means, corrected], {"fusedActivationFunction": b.activation})


@TFLITE.lower("GlobalAveragePool", "GlobalMaxPool", layout="nhwc")
def global_pool(b: NodeBuilder, x: Tensor) -> Tensor:
    if len(x.shape) != 4:
        b.refuse(f"{b.rank - 2} spatial axes")
    return b.emit(GLOBAL[b.op_type], [x, b.integers([1, 2], "axes")], {"keepDims": True})


def _view(
    b: NodeBuilder,
    x: Tensor,
    kernel: Sequence[int],
    strides: Sequence[int] | None,
    dilations: Sequence[int] | None,
    pads: Sequence[int] | None,
    auto_pad: str,
) -> Window:
    if len(kernel) > 2:
        b.refuse(f"{len(kernel)} spatial axes; TFLite pools over 1 or 2")
    if set(dilations or (1,)) != {1}:
        b.refuse("TFLite pools without dilation")
    return window(kernel, strides, dilations, pads, auto_pad, x.shape[1:3], b.y.shape[1:3])


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
