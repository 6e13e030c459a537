"""Transposed convolutions: TRANSPOSE_CONV over one or two spatial axes, CONV_3D_TRANSPOSE over three."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edgewright.export.tflite.depthwise_transposed import depthwise_transposed
from edgewright.export.tflite.node_builder import NodeBuilder
from edgewright.export.tflite.ops.conv import arranged, bias_of, check_spatial
from edgewright.export.tflite.rules import TFLITE
from edgewright.export.tflite.tensor import Quantization, Tensor
from edgewright.export.tflite.window import Window, window

Ints = tuple[int, ...]


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
    output_padding: Sequence[int] | None = None,
    output_shape: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Tensor:
    """The transposed windows in full, then what the pads leave of them; groups one by one."""
    check_spatial(b, w)
    w = _spread(b, w, dilations)
    rank = len(w.shape) - 2
    if output_shape is not None or auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        pads = _pads_by_shape(b, x, w, strides, output_padding, auto_pad)
    w, pads = _reaching(b, x, w, strides, pads or (0,) * 2 * rank)
    # Seen from the output, a transposed convolution slides over it as a convolution slides over its input.
    view = window(w.shape[2:], strides, None, pads, "NOTSET", b.y.shape[1:-1], x.shape[1:-1])
    full = tuple((n - 1) * s + k for n, s, k in zip(x.shape[1:-1], view.strides, view.kernel))
    begins = [begin for begin, _ in view.declared]
    if rank < 3 and group == x.shape[-1] > 1 and all(begin < length for begin, length in zip(begins, view.kernel)):
        return depthwise_transposed(b, x, w, bias_of(b, bias, w.shape[1] * group, x, _for_all(w, group)), view)
    exact = _exact_padding(view, full)
    target = b.y if exact else b.temp("full", b.y, (b.y.shape[0], *full, b.y.shape[-1]))
    shift = bias_of(b, bias, w.shape[1] * group, x, _for_all(w, group))
    if group > 1:
        _grouped(b, x, w, shift, group, view, exact or "VALID", target)
    elif rank == 3:
        _over_depth(b, x, w, shift, view, exact or "VALID", target)
    else:
        _over_image(b, x, w, shift, view, exact or "VALID", target)
    return target if exact else _cut(b, target, view)


def _spread(b: NodeBuilder, w: Tensor, dilations: Sequence[int] | None) -> Tensor:
    """Dilated weights are ones with zeros between."""
    if set(dilations or (1,)) == {1}:
        return w
    assert dilations is not None
    data = b.need_constant(w, "dilated weights")
    spatial = [(length - 1) * step + 1 for length, step in zip(w.shape[2:], dilations)]
    wide = np.zeros((*w.shape[:2], *spatial), data.dtype)
    wide[(..., *(slice(None, None, step) for step in dilations))] = data
    return b.constant(wide, w.name, w.quantization)


def _pads_by_shape(
    b: NodeBuilder, x: Tensor, w: Tensor, strides: Sequence[int] | None, extra: Sequence[int] | None, mode: str
) -> list[int]:
    """What must be cut (negative: added) so that the output has its shape; an odd element on the side of the mode."""
    rank = len(w.shape) - 2
    sizes = zip(x.shape[-1 - rank : -1], strides or (1,) * rank, w.shape[2:], extra or (0,) * rank)
    cuts = [(n - 1) * s + k + more - out for (n, s, k, more), out in zip(sizes, b.y.shape[-1 - rank : -1])]
    small = [cut // 2 for cut in cuts]
    large = [cut - half for cut, half in zip(cuts, small)]
    return small + large if mode == "SAME_UPPER" else large + small


def _reaching(
    b: NodeBuilder, x: Tensor, w: Tensor, strides: Sequence[int] | None, pads: Sequence[int]
) -> tuple[Tensor, list[int]]:
    """Weights with zeros around them where the output reaches beyond all windows (it holds the bias there), and pads
    to match."""
    rank = len(w.shape) - 2
    size, out = x.shape[-1 - rank : -1], b.y.shape[-1 - rank : -1]
    full = [(n - 1) * s + k for n, s, k in zip(size, strides or (1,) * rank, w.shape[2:])]
    before = [max(-begin, 0) for begin in pads[:rank]]
    begins = [begin + more for begin, more in zip(pads, before)]
    after = [max(m + begin - more - have, 0) for m, begin, more, have in zip(out, begins, before, full)]
    if any(before) or any(after):
        around = ((0, 0), (0, 0), *zip(before, after))
        w = b.constant(np.pad(b.need_constant(w, "weights of such an output"), around), w.name, w.quantization)
    return w, [*begins, *pads[rank:]]


def _exact_padding(view: Window, full: Ints) -> str | None:
    """VALID or SAME where the kernel itself gives just what is wanted."""
    if view.size == full:
        return "VALID"
    return "SAME" if view.padding == "SAME" else None


def _cut(b: NodeBuilder, full: Tensor, view: Window) -> Tensor:
    begins = [begin for begin, _ in view.declared]
    return b.emit("SLICE", [full, b.integers([0, *begins, 0], "begin"), b.integers(b.y.shape, "size")])


def _over_image(b: NodeBuilder, x: Tensor, w: Tensor, bias: Tensor, view: Window, padding: str, to: Tensor) -> None:
    inputs = [b.integers(to.shape, "output_shape"), arranged(b, w, "OHWI", given="IOHW"), x, bias]
    options = {"padding": padding, "strideH": view.strides[0], "strideW": view.strides[1]}
    b.emit("TRANSPOSE_CONV", inputs, options, to=to)


def _over_depth(b: NodeBuilder, x: Tensor, w: Tensor, bias: Tensor, view: Window, padding: str, to: Tensor) -> None:
    b.need_float()
    depth, height, width = view.strides
    options = {"padding": padding, "strideD": depth, "strideH": height, "strideW": width}
    options |= {"dilationDFactor": 1, "dilationHFactor": 1, "dilationWFactor": 1}
    order = (2, 3, 4, 1, 0)
    scale = None if w.quantization is None else w.quantization.along(order.index(w.quantization.axis))
    kernel = b.transpose(w, order) if w.data is None else b.constant(w.data.transpose(order), w.name, scale)
    b.emit("CONV_3D_TRANSPOSE", [b.integers(to.shape, "output_shape"), kernel, x, bias], options, to=to)


def _grouped(
    b: NodeBuilder, x: Tensor, w: Tensor, bias: Tensor, group: int, view: Window, padding: str, to: Tensor
) -> None:
    """No kernel has groups: each is one of its own, between SPLIT_V and CONCATENATION."""
    width, axis = x.shape[-1] // group, len(x.shape) - 1
    weights, shifts = b.need_constant(w, "grouped weights"), b.need_constant(bias, "the bias of groups")
    parts = [b.temp(f"group{index}", x, (*x.shape[:-1], width)) for index in range(group)]
    lengths = b.integers([width] * group, "sizes")
    b.emit("SPLIT_V", [x, lengths, b.constant(np.array(axis, np.int32), "axis")], {"numSplits": group}, to=parts)
    made = [b.temp(f"windows{index}", to, (*to.shape[:-1], w.shape[1])) for index in range(group)]
    for index, (part, target) in enumerate(zip(parts, made)):
        rows, columns = slice(index * width, (index + 1) * width), slice(index * w.shape[1], (index + 1) * w.shape[1])
        kernel = b.constant(weights[rows], f"{w.name}/{index}", w.quantization)
        shift = b.constant(shifts[columns], f"{bias.name}/{index}", _of_channels(bias.quantization, columns))
        (_over_depth if len(view.kernel) == 3 else _over_image)(b, part, kernel, shift, view, padding, target)
    b.emit("CONCATENATION", made, {"axis": axis, "fusedActivationFunction": "NONE"}, to=to)


def _for_all(w: Tensor, group: int) -> Tensor:
    """With the scales of all output channels, where each group has those of the weights' second axis."""
    quantization = w.quantization
    if quantization is None or quantization.scale.size == 1:
        return w
    scale, zero_point = np.tile(quantization.scale, group), np.tile(quantization.zero_point, group)
    return replace(w, quantization=Quantization(scale, zero_point, quantization.axis))


def _of_channels(quantization: Quantization | None, columns: slice) -> Quantization | None:
    if quantization is None or quantization.scale.size == 1:
        return quantization
    return Quantization(quantization.scale[columns], quantization.zero_point[columns], quantization.axis)
