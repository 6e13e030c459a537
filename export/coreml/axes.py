"""Tensors of more than five axes, which MIL lacks: held flat, and seen with axes merged where a node works on them."""

from collections.abc import Collection, Sequence
from math import prod
from typing import Any

import numpy as np

MAX_RANK = 5
Shape = Sequence[int]


def held_shape(shape: Shape) -> list[int]:
    """The shape that a tensor has in a program: its own, or [n] when it has too many axes."""
    return list(shape) if len(shape) <= MAX_RANK else [prod(shape)]


def agrees(var: Any, shape: Sequence[int]) -> bool:
    """Whether MIL infers this shape; a length that it knows only when the program runs may be any."""
    from coremltools.converters.mil.mil.types.symbolic import is_symbolic  # type: ignore[import-untyped]

    return len(var.shape) == len(shape) and all(is_symbolic(n) or n == want for n, want in zip(var.shape, shape))


def around(shape: Shape, axis: int) -> list[int]:
    """One axis, with what is before it and behind it: [before, n, behind]."""
    axis %= len(shape)
    return [prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :])]


def runs(shape: Shape, axes: Collection[int]) -> tuple[list[int], list[int]]:
    """Neighbours of which all or none are in `axes` as one axis: the lengths, and which of them are in it."""
    marked = {axis % len(shape) for axis in axes}
    lengths: list[int] = []
    where: list[int] = []
    for axis, n in enumerate(shape):
        if axis and (axis in marked) == (axis - 1 in marked):
            lengths[-1] *= n
            continue
        if axis in marked:
            where.append(len(lengths))
        lengths.append(n)
    return lengths, where


def merged(shapes: Sequence[Shape]) -> list[list[int]]:
    """The shapes of operands that are broadcast together, with as few axes as that allows.

    Neighbouring axes are one where each operand is repeated along both, or along neither:
    [2, 3, 4, 5, 6, 7] and [1, 1, 1, 5, 6, 7] → [24, 210] and [1, 210].
    """
    rank = max(map(len, shapes))
    full = np.array([[1] * (rank - len(shape)) + list(shape) for shape in shapes])
    lengths = full.max(axis=0)
    made: list[list[int]] = [[] for _ in shapes]
    before: list[bool] | None = None
    for axis in range(rank):
        if lengths[axis] == 1:
            continue
        repeated = [bool(n == 1) for n in full[:, axis]]
        for row, n in zip(made, full[:, axis]):
            if repeated == before:
                row[-1] *= int(n)
            else:
                row.append(int(n))
        before = repeated
    return [row or [1] for row in made]


def turns(shape: Shape, perm: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """A transposition as views of at most five axes, each with the order that it is put in; none: nothing moves.

    Axes of one element are dropped and those that stay neighbours merged; if more than five are left, one after the
    other is moved to its place: [before, passed over, it, behind] → [before, it, passed over, behind].
    """
    lengths, order = _runs(shape, perm)
    if order == sorted(order):
        return []
    if len(order) <= MAX_RANK:
        return [(lengths, order)]
    now, made = list(range(len(order))), []
    for place, wanted in enumerate(order):
        found = now.index(wanted)
        if found != place:
            view = [now[:place], now[place:found], [wanted], now[found + 1 :]]
            made.append(([prod(lengths[axis] for axis in part) for part in view], [0, 2, 1, 3]))
            now = [*now[:place], wanted, *now[place:found], *now[found + 1 :]]
    return made


def _runs(shape: Shape, perm: Sequence[int]) -> tuple[list[int], list[int]]:
    """Lengths and order of the runs of axes that stay neighbours."""
    kept = [axis for axis, n in enumerate(shape) if n != 1]
    number = {axis: place for place, axis in enumerate(kept)}
    order = [number[axis] for axis in perm if axis in number]
    runs: list[list[int]] = []
    for axis in order:
        if runs and axis == runs[-1][-1] + 1:
            runs[-1].append(axis)
        else:
            runs.append([axis])
    by_place = sorted(runs)
    lengths = [prod(shape[kept[axis]] for axis in run) for run in by_place]
    return lengths, [by_place.index(run) for run in runs]
