"""Sampling an image at the points of a grid."""

from functools import reduce
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from edgewright.export.onnx.decompose import EXPANSIONS, Op
from edgewright.export.onnx.decompose.interpolation import clipped, part, real, reflected, rows_of, weighted_neighbours
from edgewright.export.onnx.graph import constant, shape_of

if TYPE_CHECKING:
    import onnx_ir as ir


@EXPANSIONS.lower("GridSample")
def grid_sample(
    op: Op,
    x: "ir.Value",
    grid: "ir.Value",
    *,
    align_corners: int = 0,
    mode: str = "linear",
    padding_mode: str = "zeros",
) -> "ir.Value | None":
    shape, points = shape_of(x), shape_of(grid)
    if shape is None or points is None:
        return None
    batch, channels, *sizes = shape
    listed = op("Reshape", grid, op.integers(batch, prod(points[1:-1]), len(sizes)))
    each = [part(op, listed, number, 2) for number in range(len(sizes))]
    positions = [
        _from_grid(op, one, size, bool(align_corners), mode, padding_mode) for one, size in zip(reversed(each), sizes)
    ]
    base = op.constant((np.arange(batch) * prod(sizes)).astype(np.int32)[:, None])
    table = rows_of(op, x, shape)
    taps = weighted_neighbours(op, table, positions, sizes, base, mode, padding_mode, bool(align_corners))
    sampled = reduce(lambda a, b: op("Add", a, b), taps)
    made: ir.Value = op(
        "Reshape", op("Transpose", sampled, perm=(0, 2, 1)), op.integers(batch, channels, *points[1:-1])
    )
    return made


@EXPANSIONS.lower("AffineGrid")
def affine_grid(op: Op, theta: "ir.Value", size: "ir.Value", *, align_corners: int = 0) -> "ir.Value | None":  # noqa: ARG001
    """[N, spatial, axes]: the points of a regular grid, x first, each multiplied by theta [N, axes, axes + 1]."""
    shape = constant(op.node, 1)
    if shape is None:
        return None
    batch, _, *spatial = shape.tolist()
    lines = [np.linspace(-1, 1, n) if align_corners and n > 1 else (2 * np.arange(n) + 1 - n) / n for n in spatial]
    points = [axis.reshape(-1) for axis in np.meshgrid(*lines, indexing="ij")][::-1]
    regular = np.stack([*points, np.ones(prod(spatial))], axis=-1).astype(np.float32)
    moved = op("MatMul", op.constant(regular[None]), op("Transpose", theta, perm=(0, 2, 1)))
    made: ir.Value = op("Reshape", moved, op.integers(batch, *spatial, len(spatial)))
    return made


def _from_grid(op: Op, at: "ir.Value", size: int, aligned: bool, mode: str, padding: str) -> "ir.Value":
    """From −1…1 to elements; rounded for the nearest one; brought inside as the padding says."""
    from_centre, span = op("Mul", at, real(op, (size - 1) / 2 if aligned else size / 2)), (size - 1) / 2
    position = op("Add", from_centre, real(op, span))
    if mode == "nearest":
        position = op("Round", position)
    if padding == "border" and mode == "cubic":  # what lies within half an element of the border stays there
        low, high = (0.0, size - 1.0) if aligned else (-0.5, size - 0.5)
        within = op("And", *(op(c, position, real(op, n)) for c, n in (("GreaterOrEqual", low), ("LessOrEqual", high))))
        made: ir.Value = op("Where", within, position, clipped(op, position, size))
        return made
    if padding == "border":
        return clipped(op, position, size)
    return reflected(op, position, size, aligned) if padding == "reflection" else position
