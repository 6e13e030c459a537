"""Sampling an image in regions, or at the displaced elements of a kernel."""

from collections.abc import Sequence
from functools import reduce
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from edgewright.export.onnx.decompose import EXPANSIONS, Op
from edgewright.export.onnx.decompose.interpolation import clipped, part, real, rows_of, weighted_neighbours
from edgewright.export.onnx.graph import shape_of

if TYPE_CHECKING:
    import onnx_ir as ir


@EXPANSIONS.lower("RoiAlign")
def roi_align(
    op: Op,
    x: "ir.Value",
    rois: "ir.Value",
    batch_indices: "ir.Value",
    *,
    coordinate_transformation_mode: str = "half_pixel",
    mode: str = "avg",
    output_height: int = 1,
    output_width: int = 1,
    sampling_ratio: int = 0,
    spatial_scale: float = 1.0,
) -> "ir.Value | None":
    """Regions sampled on a fixed grid, then pooled. Without a sampling ratio the grid hangs on the data: None."""
    shape, regions = shape_of(x), shape_of(rois)
    if shape is None or regions is None or sampling_ratio <= 0:
        return None
    half = coordinate_transformation_mode == "half_pixel"
    scaled = op("Mul", rois, real(op, spatial_scale))
    placed = op("Sub", scaled, real(op, 0.5)) if half else scaled
    left, top, right, bottom = (op("Slice", placed, *map(op.integers, (at, at + 1, 1))) for at in range(4))
    rows, columns = output_height * sampling_ratio, output_width * sampling_ratio
    positions, masks = [], []
    for start, end, size, spread in ((top, bottom, shape[2], (rows, 1)), (left, right, shape[3], (1, columns))):
        at = op("Reshape", _across(op, start, end, prod(spread), half), op.integers(regions[0], *spread))
        beyond = op("And", op("GreaterOrEqual", at, real(op, -1.0)), op("LessOrEqual", at, real(op, float(size))))
        masks.append(op("Cast", beyond, to=1))
        positions.append(clipped(op, at, size))
    images = op("Mul", op("Cast", batch_indices, to=6), op.constant(np.array(prod(shape[2:]), np.int32)))
    base = op("Reshape", images, op.integers(regions[0], 1, 1))
    taps = weighted_neighbours(op, rows_of(op, x, shape), positions, shape[2:], base, "linear", "border")
    mask = op("Unsqueeze", op("Mul", *masks), op.integers(-1))
    joined = reduce(lambda a, b: op("Add" if mode == "avg" else "Max", a, b), taps)
    image = op("Transpose", op("Mul", joined, mask), perm=(0, 3, 1, 2))
    steps = (sampling_ratio, sampling_ratio)
    made: ir.Value = op("AveragePool" if mode == "avg" else "MaxPool", image, kernel_shape=steps, strides=steps)
    return made


def _across(op: Op, start: "ir.Value", end: "ir.Value", points: int, half: bool) -> "ir.Value":
    """[regions, points]: evenly between start and end [regions, 1]."""
    length = op("Sub", end, start)
    if not half:
        length = op("Max", length, real(op, 1.0))
    shares = op.constant(((np.arange(points) + 0.5) / points).astype(np.float32)[None])
    made: ir.Value = op("Add", op("Mul", length, shares), start)
    return made


@EXPANSIONS.lower("DeformConv")
def deform_conv(
    op: Op,
    x: "ir.Value",
    w: "ir.Value",
    offset: "ir.Value",
    bias: "ir.Value | None" = None,
    mask: "ir.Value | None" = None,
    *,
    dilations: Sequence[int] | None = None,
    group: int = 1,
    kernel_shape: Sequence[int] | None = None,  # noqa: ARG001
    offset_group: int = 1,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> "ir.Value | None":
    """What each element of the kernel sees, sampled at its own offset, as channels of a 1×1 convolution."""
    shape, kernel, out = shape_of(x), shape_of(w), shape_of(offset)
    if shape is None or kernel is None or out is None or len(shape) != 4:
        return None
    batch, channels, *sizes = shape
    taps, points, groups = prod(kernel[2:]), prod(out[2:]), offset_group
    moved = op("Reshape", offset, op.integers(batch * groups, taps, 2, points))
    fixed = _windows(kernel[2:], out[2:], strides or (1, 1), dilations or (1, 1), (pads or (0, 0))[:2])
    positions = [op("Add", part(op, moved, number, 2), op.constant(at[None])) for number, at in enumerate(fixed)]
    split = op("Reshape", x, op.integers(batch * groups, channels // groups, *sizes))
    table = rows_of(op, split, (batch * groups, channels // groups, *sizes))
    base = op.constant((np.arange(batch * groups) * prod(sizes)).astype(np.int32)[:, None, None])
    sampled = reduce(
        lambda a, b: op("Add", a, b), weighted_neighbours(op, table, positions, sizes, base, "linear", "zeros")
    )
    if mask is not None:
        sampled = op("Mul", sampled, op("Reshape", mask, op.integers(batch * groups, taps, points, 1)))
    columns = op("Transpose", sampled, perm=(0, 3, 1, 2))  # [N·groups, C/groups, taps, points]
    image = op("Reshape", columns, op.integers(batch, channels * taps, *out[2:]))
    weights = op("Reshape", w, op.integers(kernel[0], kernel[1] * taps, 1, 1))
    made: ir.Value = op("Conv", image, weights, *([] if bias is None else [bias]), group=group)
    return made


def _windows(
    kernel: Sequence[int], out: Sequence[int], strides: Sequence[int], dilations: Sequence[int], begins: Sequence[int]
) -> "tuple[np.ndarray, ...]":  # type: ignore[type-arg]
    """Row and column that each element of the kernel sees in each window without an offset: [taps, windows] each."""
    starts = [np.arange(m) * s - begin for m, s, begin in zip(out, strides, begins)]
    steps = [np.arange(k) * d for k, d in zip(kernel, dilations)]
    windows, taps = (np.stack(np.meshgrid(*one, indexing="ij")).reshape(2, -1) for one in (starts, steps))
    placed = (windows[:, None, :] + taps[:, :, None]).astype(np.float32)
    return placed[0], placed[1]
