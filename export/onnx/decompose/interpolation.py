"""Values between the elements of an image: the neighbours of each point, weighted."""

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from edgewright.export.onnx.decompose import Op

if TYPE_CHECKING:
    import onnx_ir as ir

CUBIC_A = -0.75


def weighted_neighbours(
    op: Op,
    table: "ir.Value",
    positions: "Sequence[ir.Value]",
    sizes: Sequence[int],
    base: "ir.Value",
    mode: str,
    padding: str,
    aligned: bool = False,
) -> "list[ir.Value]":
    """The weighted neighbours of each point, [...points, C] each: their sum is the sample.

    `positions` are in elements along each axis and broadcast against one another, and against `base`, int32, the row
    of `table` where the image of a point begins.
    """
    along = [_neighbours(op, one, size, mode, padding, aligned) for one, size in zip(positions, sizes)]
    made = []
    for combination in product(*along):
        row, weight = base, None
        for number, (index, share) in enumerate(combination):
            stride = prod(sizes[number + 1 :])
            row = op("Add", row, index if stride == 1 else op("Mul", index, op.constant(np.array(stride, np.int32))))
            if share is not None:
                weight = share if weight is None else op("Mul", weight, share)
        value = op("Gather", table, row, axis=0)
        made.append(value if weight is None else op("Mul", value, op("Unsqueeze", weight, op.integers(-1))))
    return made


def _neighbours(
    op: Op, position: "ir.Value", size: int, mode: str, padding: str, aligned: bool
) -> "list[tuple[ir.Value, ir.Value | None]]":
    """(index, weight) of the elements that count along one axis; the weight is 0 where zeros lie."""
    if mode == "nearest":
        inside = _inside(op, position, size) if padding == "zeros" else None
        return [(_index(op, position, size), inside)]
    floor = op("Floor", position)
    fraction = op("Sub", position, floor)
    shares = _linear(op, fraction) if mode == "linear" else _cubic(op, fraction)
    made: list[tuple[ir.Value, ir.Value | None]] = []
    for step, share in shares.items():
        at = op("Add", floor, real(op, step)) if step else floor
        if padding == "zeros":
            share = op("Mul", share, _inside(op, at, size))
        if padding == "reflection":
            at = reflected(op, at, size, aligned)
        made.append((_index(op, at, size), share))
    return made


def _linear(op: Op, fraction: "ir.Value") -> "dict[int, ir.Value]":
    return {0: op("Sub", real(op, 1.0), fraction), 1: fraction}


def _cubic(op: Op, fraction: "ir.Value") -> "dict[int, ir.Value]":
    """Keys' kernel (Cubic convolution interpolation, 1981) by the distance of each neighbour."""
    a, rest = CUBIC_A, op("Sub", real(op, 1.0), fraction)
    near, far = (a + 2, -(a + 3), 0.0, 1.0), (a, -5 * a, 8 * a, -4 * a)
    one = real(op, 1.0)
    return {
        -1: _polynomial(op, op("Add", fraction, one), far),
        0: _polynomial(op, fraction, near),
        1: _polynomial(op, rest, near),
        2: _polynomial(op, op("Add", rest, one), far),
    }


def _polynomial(op: Op, x: "ir.Value", factors: Sequence[float]) -> "ir.Value":
    """Horner's rule, the highest power first."""
    made = op("Mul", x, real(op, factors[0]))
    for factor in factors[1:-1]:
        made = op("Mul", op("Add", made, real(op, factor)) if factor else made, x)
    result: ir.Value = op("Add", made, real(op, factors[-1]))
    return result


def _inside(op: Op, at: "ir.Value", size: int) -> "ir.Value":
    """1 where an element is, 0 elsewhere; `at` is whole."""
    within = op("And", op("GreaterOrEqual", at, real(op, 0.0)), op("LessOrEqual", at, real(op, size - 1.0)))
    made: ir.Value = op("Cast", within, to=1)
    return made


def _index(op: Op, at: "ir.Value", size: int) -> "ir.Value":
    made: ir.Value = op("Cast", clipped(op, at, size), to=6)
    return made


def reflected(op: Op, position: "ir.Value", size: int, aligned: bool) -> "ir.Value":
    """Mirrored at the first and last element (aligned) or half an element beyond them, as often as it takes."""
    low, span = (0.0, size - 1.0) if aligned else (-0.5, float(size))
    made: ir.Value
    if span == 0:
        made = op("Mul", position, real(op, 0.0))
        return made
    distance = op("Abs", op("Sub", position, real(op, low)))
    turns = op("Floor", op("Div", distance, real(op, 2 * span)))
    within = op("Sub", distance, op("Mul", turns, real(op, 2 * span)))
    made = op("Sub", real(op, low + span), op("Abs", op("Sub", within, real(op, span))))
    return made


def clipped(op: Op, at: "ir.Value", size: int) -> "ir.Value":
    made: ir.Value = op("Clip", at, real(op, 0.0), real(op, size - 1.0))
    return made


def rows_of(op: Op, x: "ir.Value", shape: Sequence[int]) -> "ir.Value":
    """N×C×spatial → (N·spatial)×C."""
    last = op("Transpose", x, perm=(0, *range(2, len(shape)), 1))
    made: ir.Value = op("Reshape", last, op.integers(shape[0] * prod(shape[2:]), shape[1]))
    return made


def part(op: Op, x: "ir.Value", number: int, axis: int) -> "ir.Value":
    """One of what lies along an axis, which disappears."""
    made: ir.Value = op("Gather", x, op.constant(np.array(number)), axis=axis)
    return made


def real(op: Op, value: float) -> "ir.Value":
    return op.constant(np.array(value, np.float32))
