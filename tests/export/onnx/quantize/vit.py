"""A small vision transformer with trained-like features: the network that plain int8 breaks."""

from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from edgewright.export.capture import capture_module
from edgewright.export.onnx.file import save_model
from edgewright.export.onnx.simplify import simplify
from edgewright.runtimes.contract import Contract, TensorInfo
from tests.models import labelled, lived_in

SHAPE, CLASSES, DIM, HEADS, PATCH = (3, 32, 32), 10, 64, 4, 4


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(DIM, 3 * DIM), nn.Linear(DIM, DIM)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, _ = x.shape
        q, k, v = self.qkv(x).reshape(batch, tokens, 3, HEADS, DIM // HEADS).permute(2, 0, 3, 1, 4).unbind(0)
        weights = (q @ k.transpose(-2, -1) * (DIM // HEADS) ** -0.5).softmax(-1)
        mixed: Tensor = self.out((weights @ v).transpose(1, 2).reshape(batch, tokens, DIM))
        return mixed


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(DIM), nn.LayerNorm(DIM)])
        self.attention = Attention()
        self.mlp = nn.Sequential(nn.Linear(DIM, 4 * DIM), nn.GELU(), nn.Linear(4 * DIM, DIM))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norms[0](x))
        summed: Tensor = x + self.mlp(self.norms[1](x))
        return summed


class VisionTransformer(nn.Module):
    """Patch convolution, class token, learned positions, pre-norm blocks, head on the class token."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(SHAPE[0], DIM, PATCH, PATCH)
        self.token = nn.Parameter(0.5 * torch.randn(1, 1, DIM))
        self.positions = nn.Parameter(0.5 * torch.randn(1, (SHAPE[1] // PATCH) ** 2 + 1, DIM))
        self.blocks = nn.Sequential(*(Block() for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(DIM), nn.Linear(DIM, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(x.shape[0], -1, -1), patches], 1) + self.positions
        logits: Tensor = self.head(self.norm(self.blocks(tokens))[:, 0])
        return logits


def outlying(depth: int) -> nn.Module:
    """As in trained transformers, two channels of the residual stream run far beyond the rest (arXiv 2208.07339)."""
    network = VisionTransformer(depth)
    for block in network.blocks:
        with torch.no_grad():
            block.mlp[2].bias[:2] += torch.tensor([12.0, -8.0])
    return network


@cache
def vit(depth: int = 3) -> nn.Module:
    """Seeded, its head fitted to `labelled`."""
    return lived_in(lambda: outlying(depth), SHAPE)


def inputs(count: int, seed: int = 100) -> tuple[Tensor, Tensor]:
    """Samples [count, 3, 32, 32] and their classes."""
    return labelled(SHAPE, CLASSES, count, seed)


def write_vit(path: Path, depth: int = 3) -> None:
    """The clean float ONNX: input `input` [1, 3, 32, 32], output `output` [1, 10]."""
    contract = Contract((TensorInfo("input", (1, *SHAPE)),), (TensorInfo("output", (1, CLASSES)),))
    with torch.no_grad():
        model, _ = simplify(capture_module(vit(depth), {"input": inputs(1)[0]}, ["output"]))
    save_model(model, contract, path)
