"""A full convolution as depthwise · 1×1: the leading singular vectors of each input channel's [out, window] matrix."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgewright.compress.factors.layers import Seen
from edgewright.compress.factors.parts import convolution, pointwise, window_of
from edgewright.edits import Part

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Depthwise:
    """`multiplier` kernels for each input channel; at min(window, outputs) of them nothing is lost."""

    layer: Seen
    multiplier: int

    def parts(self) -> tuple[Part, Part]:
        layer: Any = self.layer.layer
        kind, inner = type(layer).__name__, layer.in_channels * self.multiplier
        return (
            convolution(kind, layer.in_channels, inner, layer.in_channels, False, window_of(layer)),
            pointwise(kind, inner, layer.out_channels, 1, layer.bias is not None),
        )

    def weights(self) -> "tuple[Tensor, Tensor]":
        """Both halves carry the root of each singular value, so that fine-tuning and quantization see equal sizes."""
        import torch

        weight = self.layer.weight
        u, s, vh = torch.linalg.svd(weight.transpose(0, 1).flatten(2), full_matrices=False)
        scale = s[:, : self.multiplier, None].sqrt()
        kernels = (scale * vh[:, : self.multiplier]).flatten(0, 1)
        mixed = (u[..., : self.multiplier] * scale.mT).permute(0, 2, 1).flatten(0, 1).T
        return kernels, mixed


def random_weights(parts: Sequence[Part], seed: int) -> "list[Tensor]":
    """The weights that torch gives such layers."""
    import torch
    from torch import nn

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return [getattr(nn, part.kind)(**part.arguments).weight.detach() for part in parts]
