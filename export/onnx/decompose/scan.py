"""Operators that run along an axis."""

from typing import TYPE_CHECKING

from edgewright.export.onnx.decompose import EXPANSIONS, Op
from edgewright.export.onnx.graph import constant, shape_of

if TYPE_CHECKING:
    import onnx_ir as ir


@EXPANSIONS.lower("CumProd")
def cumprod(
    op: Op,
    x: "ir.Value",
    axis: "ir.Value",  # noqa: ARG001
    *,
    exclusive: int = 0,
    reverse: int = 0,
) -> "ir.Value | None":
    """By doubling: each element times the one before, then times the one 2 before, 4, ... (Hillis, Steele 1986)."""
    shape, place = shape_of(x), constant(op.node, 1)
    if shape is None or place is None:
        return None
    where, length = int(place.item()), shape[int(place.item())]

    def before(value: "ir.Value", distance: int) -> "ir.Value":
        """What lies so far before, ones where there is nothing."""
        start, end = (distance, length) if reverse else (0, length - distance)
        pads = (0, distance) if reverse else (distance, 0)
        kept = op("Slice", value, op.integers(start), op.integers(end), op.integers(where))
        shifted: ir.Value = op("Pad", kept, op.integers(*pads), op.like(1, x), op.integers(where))
        return shifted

    made = before(x, 1) if exclusive and length else x
    distance = 1
    while distance < length:
        made = op("Mul", made, before(made, distance))
        distance *= 2
    return made
