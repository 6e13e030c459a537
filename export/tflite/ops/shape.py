"""Operators that only rename or reorder axes."""

from collections.abc import Sequence

from edgewright.export.tflite.layout import LAST
from edgewright.export.tflite.node_builder import NodeBuilder
from edgewright.export.tflite.rules import TFLITE
from edgewright.export.tflite.tensor import Tensor


@TFLITE.lower("Reshape", layout="nchw")
def reshape(b: NodeBuilder, x: Tensor, shape: Tensor, *, allowzero: int = 0) -> Tensor:  # noqa: ARG001
    return b.reshape(x, b.y.shape, b.y)


@TFLITE.lower("Flatten", layout="nchw")
def flatten(b: NodeBuilder, x: Tensor, *, axis: int = 1) -> Tensor:  # noqa: ARG001
    return b.reshape(x, b.y.shape, b.y)


@TFLITE.lower("Squeeze", layout="nchw")
def squeeze(b: NodeBuilder, x: Tensor, axes: Tensor | None = None) -> Tensor:  # noqa: ARG001
    return b.reshape(x, b.y.shape, b.y)


@TFLITE.lower("Unsqueeze", layout="nchw")
def unsqueeze(b: NodeBuilder, x: Tensor, axes: Tensor) -> Tensor:  # noqa: ARG001
    return b.reshape(x, b.y.shape, b.y)


@TFLITE.lower("Transpose", layout="nchw")
def transpose(b: NodeBuilder, x: Tensor, *, perm: Sequence[int] | None = None) -> Tensor:
    """Read as the file holds it; where that is the order wanted already, nothing is written."""
    order = tuple(perm or range(b.rank - 1, -1, -1))
    if b.read_form == LAST and b.rank == 3:
        x = b.reshape(x, (x.shape[0], *x.shape[2:]))
    held = [_axis_among(b, axis) for axis in order]
    if b.y_form == LAST:
        held = [held[0], *held[2:], held[1]]
    return b.transpose(x, held)


def _axis_among(b: NodeBuilder, axis: int) -> int:
    """Where a channels-last tensor without its height of 1 holds an axis."""
    held = b.axis(axis)
    return held - 1 if b.read_form == LAST and b.rank == 3 and held > 0 else held
