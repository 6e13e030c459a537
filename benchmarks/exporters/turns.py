"""Two things run in turn, so that whatever drifts hits both alike."""

from collections.abc import Callable, Sequence
from statistics import median
from typing import TypeVar

from edgewright.errors import BadInput

A = TypeVar("A")
B = TypeVar("B")


def in_turn(rounds: int, a: Callable[[], A], b: Callable[[], B]) -> tuple[list[A] | str, list[B] | str]:
    """What both gave, A B, B A, …; in place of a side, the reason why it failed: it is not started again."""
    gave_a: list[A] | str = []
    gave_b: list[B] | str = []
    for turn in range(rounds):
        if turn % 2 == 0:
            gave_a, gave_b = _once(gave_a, a), _once(gave_b, b)
        else:
            gave_b, gave_a = _once(gave_b, b), _once(gave_a, a)
    return gave_a, gave_b


def _once(gave: list[A] | str, run: Callable[[], A]) -> list[A] | str:
    if isinstance(gave, str):
        return gave
    try:
        return [*gave, run()]
    except BadInput as error:
        return str(error)


def ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """The median over the rounds of above / below."""
    return median(a / b for a, b in zip(above, below, strict=True))
