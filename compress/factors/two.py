"""A layer as two: Linear N×M → N×K · K×M, a 1×1 convolution alike, k×k → k×1 · 1×k (all by SVD, per group)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from edgewright.compress.factors.layers import Seen
from edgewright.compress.factors.method import Rank, spread
from edgewright.compress.factors.parts import IDENTITY, along, axes_of, convolution, linear, window_of
from edgewright.edits import Part

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Split:
    """A weight as matrices [groups, rows, columns], columns on the side of the input, and the two layers it becomes.

    `root` [groups, columns, columns] is a lower Cholesky root of the inputs' second moments: the SVD of weight · root
    is the best approximation of the output over those inputs.
    """

    name: str
    layer: Seen
    root: "Tensor | None" = None

    @property
    def full(self) -> Rank:
        return (len(self._svd[1][0]),)

    def ranks(self) -> Iterator[Rank]:
        return ((rank,) for rank in spread(self.full[0]))

    def loss(self, rank: Rank) -> float:
        squares = self._svd[1].square()
        return float(squares[:, rank[0] :].sum() / squares.sum().clamp_min(1e-300))

    def parts(self, rank: Rank) -> tuple[Part, ...]:
        kept, bias = rank[0], self._layer.bias is not None
        if self.name == "linear":
            outputs, inputs = self._layer.weight.shape
            return linear(inputs, kept, False), linear(kept, outputs, bias)
        kind, groups = type(self._layer).__name__, self._layer.groups
        first, last = self._windows()
        inputs, outputs = self._layer.in_channels, self._layer.out_channels
        return (
            convolution(kind, inputs, kept * groups, groups, False, first),
            convolution(kind, kept * groups, outputs, groups, bias, last),
        )

    def weights(self, rank: Rank) -> "Sequence[Tensor]":
        """Both factors carry the root of each singular value, so that fine-tuning and quantization see equal sizes."""
        import torch

        u, s, vh = self._svd
        scale, first = s[:, : rank[0], None].sqrt(), vh[:, : rank[0]]
        if self.root is not None:
            first = torch.linalg.solve_triangular(self.root, first, upper=False, left=False)
        first, last = scale * first, u[..., : rank[0]] * scale.mT
        if self.name == "spatial":  # rows are (output, column of the window), and the window comes last
            last = last.reshape(len(last), -1, self._layer.kernel_size[1], rank[0]).transpose(2, 3)
        return first, last

    @property
    def _layer(self) -> Any:
        return self.layer.layer

    @cached_property
    def _svd(self) -> "tuple[Tensor, Tensor, Tensor]":
        import torch

        matrix = matrices(self.name, self.layer)
        u, s, vh = torch.linalg.svd(matrix if self.root is None else matrix @ self.root, full_matrices=False)
        return u, s, vh

    def _windows(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """A 1×1 convolution moves in its first half, so that the second sees fewer positions."""
        window = window_of(self._layer)
        if self.name == "spatial":
            return along(window, 0), along(window, 1)
        axes = axes_of(type(self._layer).__name__)
        return window, {key: (value,) * axes for key, value in IDENTITY.items()}


def matrices(name: str, layer: Seen) -> "Tensor":
    """The weight as [groups, rows, columns]."""
    weight = layer.weight
    grouped = weight.reshape(int(getattr(layer.layer, "groups", 1)), -1, *weight.shape[1:])
    if name == "spatial":
        return grouped.permute(0, 1, 4, 2, 3).flatten(3).flatten(1, 2)
    return grouped.flatten(2)
