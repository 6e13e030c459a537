"""A k×k convolution as 1×1 · k×k · 1×1 with fewer channels inside (Tucker-2); a side of full rank needs no 1×1."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from edgewright.compress.factors.layers import Seen
from edgewright.compress.factors.method import Rank, spread
from edgewright.compress.factors.parts import convolution, pointwise, window_of
from edgewright.edits import Part

if TYPE_CHECKING:
    from torch import Tensor

GRID = 16
ROUNDS = 3


@dataclass(frozen=True)
class Tucker:
    """Ranks are (channels behind the input, channels before the output), in each group.

    Kim et al. 2016 (arXiv 1511.06530). Bases by HOSVD, then `ROUNDS` of orthogonal iteration. `root` as in `Split`,
    over the input channels.
    """

    layer: Seen
    root: "Tensor | None" = None
    name: str = "channel"

    @property
    def full(self) -> Rank:
        return self._tensor.shape[2], self._tensor.shape[1]

    def ranks(self) -> Iterator[Rank]:
        inner, outer = self.full
        return ((i, o) for i in spread(inner, GRID) for o in spread(outer, GRID))

    def loss(self, rank: Rank) -> float:
        inner, outer = rank
        return max(0.0, 1.0 - float(self._kept[outer - 1, inner - 1] / self._kept[-1, -1].clamp_min(1e-300)))

    def parts(self, rank: Rank) -> tuple[Part, ...]:
        kind, groups, bias = type(self._layer).__name__, int(self._layer.groups), self._layer.bias is not None
        inner, outer = (channels * groups for channels in rank)
        inputs, outputs = self._layer.in_channels, self._layer.out_channels
        core_bias = bias and outer == outputs
        middle = convolution(kind, inner, outer, groups, core_bias, window_of(self._layer))
        first = pointwise(kind, inputs, inner, groups, False)
        last = pointwise(kind, outer, outputs, groups, bias)
        return (*([first] if inner < inputs else []), middle, *([last] if outer < outputs else []))

    def weights(self, rank: Rank) -> "Sequence[Tensor]":
        import torch

        inside, outside = self._bases_at(rank)
        core = torch.einsum("gmnk,gmo,gni->goik", self._tensor, outside, inside)
        first = inside.mT
        if self.root is not None:
            first = torch.linalg.solve_triangular(self.root, first, upper=False, left=False)
        inner, outer = self.full
        if rank[0] == inner:
            core = torch.einsum("goik,gin->gonk", core, first)
        if rank[1] == outer:
            core = torch.einsum("goik,gmo->gmik", core, outside)
        return [*([first] if rank[0] < inner else []), core, *([outside] if rank[1] < outer else [])]

    @property
    def _layer(self) -> Any:
        return self.layer.layer

    @cached_property
    def _tensor(self) -> "Tensor":
        """[groups, outputs, inputs, window], the inputs weighed by `root`."""
        import torch

        weight = self.layer.weight.flatten(2)
        tensor = weight.reshape(self._layer.groups, -1, *weight.shape[1:])
        return tensor if self.root is None else torch.einsum("gmnk,gni->gmik", tensor, self.root)

    @cached_property
    def _bases(self) -> "tuple[Tensor, Tensor]":
        """Orthonormal bases of the inputs [groups, N, N] and outputs [groups, M, M], the strongest directions first."""
        return _basis(self._tensor.transpose(1, 2)), _basis(self._tensor)

    @cached_property
    def _kept(self) -> "Tensor":
        """The squared core that each pair of ranks keeps: [outputs, inputs]."""
        import torch

        inside, outside = self._bases
        core = torch.einsum("gmnk,gmo,gni->goik", self._tensor, outside, inside)
        return core.square().sum((0, 3)).cumsum(0).cumsum(1)

    def _bases_at(self, rank: Rank) -> "tuple[Tensor, Tensor]":
        import torch

        inside, outside = self._bases[0][..., : rank[0]], self._bases[1][..., : rank[1]]
        for _ in range(ROUNDS):
            inside = _basis(torch.einsum("gmnk,gmo->gnok", self._tensor, outside))[..., : rank[0]]
            outside = _basis(torch.einsum("gmnk,gni->gmik", self._tensor, inside))[..., : rank[1]]
        return inside, outside


def _basis(tensor: "Tensor") -> "Tensor":
    """The eigenvectors of axis 1's Gram matrix, the largest first."""
    import torch

    flat = tensor.flatten(2)
    vectors: Tensor = torch.linalg.eigh(flat @ flat.mT).eigenvectors
    return vectors.flip(-1)
