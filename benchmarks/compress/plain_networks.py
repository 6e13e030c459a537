"""Networks whose cost lies in plain Linear layers, or in plain convolutions: grey images [n, 1, 32, 32] → [n, 10]."""

from itertools import pairwise

import torch
from torch import Tensor, nn


def mlp() -> nn.Module:
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairwise((1024, 512, 512, 256)):
        layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(256, 10))


class MixerBlock(nn.Module):
    """An MLP over the patches, then one over the channels, each beside an identity."""

    def __init__(self, patches: int, channels: int, hidden: int) -> None:
        super().__init__()
        self.before_patches, self.before_channels = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.patches = nn.Sequential(nn.Linear(patches, hidden), nn.GELU(), nn.Linear(hidden, patches))
        self.channels = nn.Sequential(nn.Linear(channels, 2 * hidden), nn.GELU(), nn.Linear(2 * hidden, channels))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.patches(self.before_patches(x).transpose(1, 2)).transpose(1, 2)
        mixed: Tensor = x + self.channels(self.before_channels(x))
        return mixed


class Mixer(nn.Module):
    """MLP-Mixer (arXiv 2105.01601) on 4×4 patches."""

    def __init__(self, channels: int = 64, hidden: int = 64, blocks: int = 3) -> None:
        super().__init__()
        self.embed = nn.Conv2d(1, channels, 4, 4)
        self.blocks = nn.Sequential(*(MixerBlock(64, channels, hidden) for _ in range(blocks)))
        self.norm = nn.LayerNorm(channels)
        self.classifier = nn.Linear(channels, 10)

    def forward(self, image: Tensor) -> Tensor:
        patches = self.embed(image).flatten(2).transpose(1, 2)
        logits: Tensor = self.classifier(self.norm(self.blocks(patches)).mean(1))
        return logits


def cnn() -> nn.Module:
    """Full 3×3 convolutions."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise((1, 16, 32, 64)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        layers += [nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def made(name: str, seed: int) -> nn.Module:
    """The network of a name, its weights drawn with this seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return {"mlp": mlp, "mixer": Mixer, "cnn": cnn}[name]()
