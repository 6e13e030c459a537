"""Operators that only rename or reorder axes."""

from collections.abc import Sequence
from math import prod

from edgewright.export.tflite.layout import LAST
from edgewright.export.tflite.node_builder import NodeBuilder
from edgewright.export.tflite.rules import TFLITE
from edgewright.export.tflite.tensor import Tensor

PLAIN_AXES = 4
"""TRANSPOSE moves these in every runtime."""
MOST_AXES = 6
"""More than these it moves in none but the newest."""


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
        return b.reshape(_transposed(b, x, [held[0], *held[2:], held[1]]), b.y.shape)
    return _transposed(b, x, held)


def _axis_among(b: NodeBuilder, axis: int) -> int:
    """Where a channels-last tensor without its height of 1 holds an axis."""
    held = b.axis(axis)
    return held - 1 if b.read_form == LAST and b.rank == 3 and held > 0 else held


def _transposed(b: NodeBuilder, x: Tensor, order: Sequence[int]) -> Tensor:
    """Beyond a few axes those that stay neighbours are joined; if too many are left, they move one by one."""
    if len(order) <= PLAIN_AXES:
        return b.transpose(x, order)
    runs = _runs([axis for axis in order if x.shape[axis] != 1])
    before = sorted(runs)
    view = b.reshape(x, [prod(x.shape[axis] for axis in run) for run in before])
    moved = [before.index(run) for run in runs]
    joined = b.transpose(view, moved) if len(runs) <= MOST_AXES else _one_by_one(b, view, moved)
    return b.reshape(joined, [x.shape[axis] for axis in order])


def _runs(order: Sequence[int]) -> list[list[int]]:
    """2, 0, 1 → [2], [0, 1]: axes that are neighbours before and after."""
    place = {axis: number for number, axis in enumerate(sorted(order))}
    runs: list[list[int]] = []
    for axis in order:
        if runs and place[axis] == place[runs[-1][-1]] + 1:
            runs[-1].append(axis)
        else:
            runs.append([axis])
    return runs


def _one_by_one(b: NodeBuilder, x: Tensor, order: Sequence[int]) -> Tensor:
    held, lengths = list(range(len(order))), list(x.shape)
    for place, axis in enumerate(order):
        at = held.index(axis)
        view = b.reshape(x, (prod(lengths[:place]), prod(lengths[place:at]), lengths[at], prod(lengths[at + 1 :])))
        x = b.transpose(view, (0, 2, 1, 3))
        held.insert(place, held.pop(at))
        lengths.insert(place, lengths.pop(at))
    return b.reshape(x, lengths)
