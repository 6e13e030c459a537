"""Selections and masks that a constant decides."""

from typing import TYPE_CHECKING

import numpy as np

from edgewright.export.onnx.decompose import EXPANSIONS, Op
from edgewright.export.onnx.graph import constant, shape_of

if TYPE_CHECKING:
    import onnx_ir as ir


@EXPANSIONS.lower("Compress")
def compress(op: Op, x: "ir.Value", condition: "ir.Value", *, axis: int | None = None) -> "ir.Value | None":  # noqa: ARG001
    """Where the condition is constant, a Gather of what it keeps."""
    kept = constant(op.node, 1)
    if kept is None:
        return None
    source = op("Reshape", x, op.integers(-1)) if axis is None else x
    made: ir.Value = op("Gather", source, op.integers(*np.flatnonzero(kept).tolist()), axis=axis or 0)
    return made


@EXPANSIONS.lower("Trilu")
def triangle(op: Op, x: "ir.Value", k: "ir.Value | None" = None, *, upper: int = 1) -> "ir.Value | None":
    """Zero outside a mask, whose diagonal may be computed."""
    shape = shape_of(x)
    if shape is None:
        return None
    rows, columns = np.arange(shape[-2])[:, None], np.arange(shape[-1])
    diagonal = np.array(0) if k is None else constant(op.node, 1)
    offset = columns - rows
    if diagonal is not None:
        mask = op.constant(offset >= diagonal if upper else offset <= diagonal)
    else:
        mask = op("GreaterOrEqual" if upper else "LessOrEqual", op.constant(offset), k)
    made: ir.Value = op("And", mask, x) if x.dtype.name == "BOOL" else op("Where", mask, x, op.like(0, x))  # type: ignore[union-attr]
    return made


@EXPANSIONS.lower("TensorScatter")
def tensor_scatter(
    op: Op,
    past: "ir.Value",
    update: "ir.Value",
    write_indices: "ir.Value | None" = None,
    *,
    axis: int = -2,
    mode: str = "linear",
) -> "ir.Value | None":
    """Rows of `update` go into the cache from where each batch says: a ScatterND of points up to `axis`."""
    cache, given = shape_of(past), shape_of(update)
    if cache is None or given is None:
        return None
    depth = axis % len(cache) + 1
    points = op.constant(np.moveaxis(np.indices(given[:depth]), 0, -1))
    if write_indices is not None:
        along = op.integers(*(int(place == depth - 1) for place in range(depth)))
        starts = op("Reshape", write_indices, op.integers(-1, *(1,) * depth))
        points = op("Add", points, op("Mul", starts, along))
    if mode == "circular":
        points = op("Mod", points, op.integers(*cache[:depth]))
    made: ir.Value = op("ScatterND", past, points, update)
    return made
