"""One way to write a layer as a product: what it can be made of at each rank, and what that loses."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from edgewright.edits import Part

if TYPE_CHECKING:
    from torch import Tensor

Rank = tuple[int, ...]
MOST_RANKS = 96


class Method(Protocol):
    """A layer's weights as factors. `full` is the rank at which nothing is lost."""

    @property
    def name(self) -> str: ...

    @property
    def full(self) -> Rank: ...

    def ranks(self) -> Iterator[Rank]:
        """Ranks worth trying, up to `full`."""

    def loss(self, rank: Rank) -> float:
        """The share (0…1) of the squared weights, or of the squared output where inputs were seen, that is lost."""

    def parts(self, rank: Rank) -> tuple[Part, ...]:
        """The layers that take the place of the one."""

    def weights(self, rank: Rank) -> "Sequence[Tensor]":
        """The weights of `parts`, in order; shapes are free."""


def spread(full: int, most: int = MOST_RANKS) -> list[int]:
    """1 … full, all of them or `most` evenly spread."""
    if full <= most:
        return list(range(1, full + 1))
    return sorted({1 + round(i * (full - 1) / (most - 1)) for i in range(most)})
