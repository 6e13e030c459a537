"""A small vision transformer (Dosovitskiy et al. 2021, arXiv 2010.11929): pre-norm blocks, mean over the patches."""

import torch
from torch import Tensor, nn


class Block(nn.Module):
    """[n, tokens, width] → the same: attention, then a GELU layer pair, each added to its input."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.mixed = nn.Linear(width, width)
        self.before_pair = nn.LayerNorm(width)
        self.pair = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        samples, tokens, width = x.shape
        parts = self.query_key_value(self.before_attention(x)).reshape(samples, tokens, 3, self.heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        weights = (query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5).softmax(-1)
        x = x + self.mixed((weights @ value).transpose(1, 2).reshape(samples, tokens, width))
        return x + self.pair(self.before_pair(x))


class VisionTransformer(nn.Module):
    """[n, 1, 32, 32] → [n, classes]."""

    def __init__(self, width: int = 64, heads: int = 4, depth: int = 3, patch: int = 8, classes: int = 10) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, patch, stride=patch)
        self.positions = nn.Parameter(0.02 * torch.randn(1, (32 // patch) ** 2, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, classes))

    def forward(self, image: Tensor) -> Tensor:
        x = self.patches(image).flatten(2).transpose(1, 2) + self.positions
        scores: Tensor = self.head(self.blocks(x).mean(1))
        return scores


def fashion_mnist() -> tuple[nn.Module, dict[str, Tensor]]:
    """The factory that edgewright calls: ten classes of grey 32×32 images."""
    return VisionTransformer(), {"image": torch.zeros(1, 1, 32, 32)}
