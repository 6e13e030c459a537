"""Operators on images that are other operators with the right weights, pads or order."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgewright.export.onnx.decompose import EXPANSIONS, Op
from edgewright.export.onnx.graph import constant, shape_of

if TYPE_CHECKING:
    import onnx_ir as ir


@EXPANSIONS.lower("Col2Im")
def col2im(
    op: Op,
    columns: "ir.Value",
    image_shape: "ir.Value",  # noqa: ARG001
    block_shape: "ir.Value",  # noqa: ARG001
    *,
    dilations: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> "ir.Value | None":
    """N×(C·K)×L → N×C×image: a transposed convolution that puts each element of a block where it came from."""
    image, block, shape = constant(op.node, 1), constant(op.node, 2), shape_of(columns)
    if image is None or block is None or shape is None:
        return None
    rank, taps = len(block), int(block.prod())
    channels, around, ones = shape[1] // taps, pads or (0,) * 2 * rank, (1,) * rank
    # How far windows may begin from the first: the image with its pads, less one window.
    room = [
        n + begin + end - (k - 1) * d - 1
        for n, k, d, begin, end in zip(image.tolist(), block.tolist(), dilations or ones, around, around[rank:])
    ]
    windows = [length // stride + 1 for length, stride in zip(room, strides or ones)]
    left = tuple(length % stride for length, stride in zip(room, strides or ones))
    blocks = op("Reshape", columns, op.integers(shape[0] * channels, taps, *windows))
    weights = op.constant(np.eye(taps, dtype=np.float32).reshape(taps, 1, *block))
    made = op("ConvTranspose", blocks, weights, dilations=dilations, pads=pads, strides=strides, output_padding=left)
    result: ir.Value = op("Reshape", made, op.integers(shape[0], channels, *map(int, image)))
    return result


@EXPANSIONS.lower("CenterCropPad")
def center_crop_pad(
    op: Op,
    x: "ir.Value",
    shape: "ir.Value",  # noqa: ARG001
    *,
    axes: Sequence[int] | None = None,
) -> "ir.Value | None":
    """Cut or filled with zeros on both sides; an odd element goes to the end."""
    size, wanted = shape_of(x), constant(op.node, 1)
    if size is None or wanted is None:
        return None
    where = [axis % len(size) for axis in (range(len(size)) if axes is None else axes)]
    starts, stops = [0] * len(size), list(size)
    pads = [0] * 2 * len(size)
    for axis, length in zip(where, wanted.tolist()):
        cut, more = max(size[axis] - length, 0), max(length - size[axis], 0)
        starts[axis], stops[axis] = cut // 2, cut // 2 + min(length, size[axis])
        pads[axis], pads[axis + len(size)] = more // 2, more - more // 2
    made = op("Slice", x, op.integers(*starts), op.integers(*stops)) if stops != list(size) or any(starts) else x
    result: ir.Value = op("Pad", made, op.integers(*pads)) if any(pads) else op("Identity", made)
    return result


def convolution_before(node: "ir.Node") -> "ir.Node | None":
    """The Conv with constant weights that a DepthToSpace alone reads: its channels can come in any order."""
    x = node.inputs[0]
    above = None if x is None else x.producer()
    if x is None or above is None or above.op_type != "Conv" or len(x.uses()) != 1 or x.is_graph_output():
        return None
    fixed = [constant(above, index) is not None for index in range(1, len(above.inputs)) if above.inputs[index]]
    return above if all(fixed) and above.attributes.get_int("group", 1) == 1 else None


@EXPANSIONS.lower("DepthToSpace")
def depth_to_space(op: Op, x: "ir.Value", *, blocksize: int, mode: str = "DCR") -> "ir.Value | None":  # noqa: ARG001
    """Conv → DepthToSpace(CRD), a pixel shuffle, becomes Conv with its channels reordered → DepthToSpace(DCR)."""
    above = convolution_before(op.node)
    if above is None or mode != "CRD":
        return None
    weights, bias = constant(above, 1), constant(above, 2)
    assert weights is not None
    order = np.arange(len(weights)).reshape(-1, blocksize * blocksize).T.reshape(-1)
    values = [op.constant(weights[order]), *([] if bias is None else [op.constant(bias[order])])]
    attributes = {name: attribute.value for name, attribute in above.attributes.items()}
    made: ir.Value = op("DepthToSpace", op("Conv", above.inputs[0], *values, **attributes), blocksize=blocksize)
    return made
