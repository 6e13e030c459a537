"""The measured networks, torch alone, seeded: true topologies at the sizes that devices run."""

from collections.abc import Callable, Mapping
from itertools import pairwise
from types import MappingProxyType

import torch
from torch import Tensor, nn

Made = tuple[nn.Module, dict[str, Tensor]]
"""The module in eval mode, and an example of its one input: what edgewright's factories give."""


class Residual(nn.Module):
    """`after(body(x) + shortcut(x))`."""

    def __init__(self, body: nn.Module, shortcut: nn.Module | None = None, after: nn.Module | None = None) -> None:
        super().__init__()
        self.body, self.shortcut, self.after = body, shortcut or nn.Identity(), after or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        summed: Tensor = self.after(self.body(x) + self.shortcut(x))
        return summed


def conv(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, act: type[nn.Module] | None = nn.ReLU
) -> list[nn.Module]:
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [layer, nn.BatchNorm2d(outputs), *([act()] if act else [])]


def head(inputs: int, classes: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes)]


def student(size: int) -> Made:
    """StudentNet: depthwise separable blocks, no activation behind the pointwise convolution."""
    widths = [16 * m for m in (1, 2, 4, 8, 16, 16, 16, 16)]
    body = [*conv(3, 16, 3, act=nn.ReLU6), nn.MaxPool2d(2)]
    for block, (inputs, outputs) in enumerate(pairwise(widths), 1):
        body += [*conv(inputs, inputs, 3, groups=inputs, act=nn.ReLU6), nn.Conv2d(inputs, outputs, 1)]
        body += [nn.MaxPool2d(2)] if block <= 3 else []
    return ready(nn.Sequential(*body, *head(256, 11)), 3, size, size)


def student_128() -> Made:
    torch.manual_seed(0)
    return student(128)


def student_256() -> Made:
    torch.manual_seed(0)
    return student(256)


def mobilenet_v2() -> Made:
    """Sandler et al. 2018 (arXiv 1801.04381), width 1."""
    torch.manual_seed(1)
    rows = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    inputs, body = 32, conv(3, 32, 3, 2, act=nn.ReLU6)
    for expand, outputs, repeats, first in rows:
        for stride in (first, *[1] * (repeats - 1)):
            hidden = inputs * expand
            layers = [
                *(conv(inputs, hidden, 1, act=nn.ReLU6) if expand > 1 else []),
                *conv(hidden, hidden, 3, stride, hidden, nn.ReLU6),
                *conv(hidden, outputs, 1, act=None),
            ]
            block = nn.Sequential(*layers)
            body.append(Residual(block) if stride == 1 and inputs == outputs else block)
            inputs = outputs
    return ready(nn.Sequential(*body, *conv(320, 1280, 1, act=nn.ReLU6), *head(1280, 1000)), 3, 224, 224)


def resnet18() -> Made:
    """He et al. 2015 (arXiv 1512.03385)."""
    torch.manual_seed(2)
    inputs, body = 64, [*conv(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)]
    for outputs, first in ((64, 1), (128, 2), (256, 2), (512, 2)):
        for stride in (first, 1):
            block = nn.Sequential(*conv(inputs, outputs, 3, stride), *conv(outputs, outputs, 3, act=None))
            same = stride == 1 and inputs == outputs
            shortcut = None if same else nn.Sequential(*conv(inputs, outputs, 1, stride, act=None))
            body.append(Residual(block, shortcut, nn.ReLU()))
            inputs = outputs
    return ready(nn.Sequential(*body, *head(512, 1000)), 3, 224, 224)


def cnn_1d() -> Made:
    """Two seconds of a six-axis motion sensor."""
    torch.manual_seed(3)
    body: list[nn.Module] = []
    for inputs, outputs in pairwise((6, 48, 64, 96)):
        layer = nn.Conv1d(inputs, outputs, 5, padding=2, bias=False)
        body += [layer, nn.BatchNorm1d(outputs), nn.ReLU(), nn.MaxPool1d(2)]
    return ready(nn.Sequential(*body, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(96, 7)), 6, 100)


class UNet(nn.Module):
    """Ronneberger et al. 2015 (arXiv 1505.04597), padded: three levels down, three up by transposed convolutions."""

    def __init__(self, width: int = 16, levels: int = 3) -> None:
        super().__init__()
        widths = [width << level for level in range(levels + 1)]
        self.down = nn.ModuleList(self.pair(i, o) for i, o in pairwise([3, *widths]))
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, 2) for w in reversed(widths[:-1]))
        self.merge = nn.ModuleList(self.pair(2 * w, w) for w in reversed(widths[:-1]))
        self.last = nn.Conv2d(width, 1, 1)

    @staticmethod
    def pair(inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(*conv(inputs, outputs, 3), *conv(outputs, outputs, 3))

    def forward(self, x: Tensor) -> Tensor:
        kept: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(nn.functional.max_pool2d(x, 2) if level else x)
            kept.append(x)
        for up, merge, skip in zip(self.up, self.merge, reversed(kept[:-1]), strict=True):
            x = merge(torch.cat([up(x), skip], 1))
        mask: Tensor = self.last(x).sigmoid()
        return mask


def unet() -> Made:
    torch.manual_seed(4)
    return ready(UNet(), 3, 128, 128)


class Recurrent(nn.Module):
    """[n, time, features] → [n, classes]: the last state of a recurrent layer, and a linear one."""

    def __init__(self, kind: type[nn.GRU] | type[nn.LSTM], features: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.layer = kind(features, hidden, batch_first=True)
        self.classifier = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.classifier(self.layer(x)[0][:, -1])
        return scores


def gru() -> Made:
    """A second of speech as 49 frames of 10 coefficients."""
    torch.manual_seed(5)
    return ready(Recurrent(nn.GRU, 10, 64, 12), 49, 10)


def lstm() -> Made:
    torch.manual_seed(6)
    return ready(Recurrent(nn.LSTM, 10, 64, 12), 49, 10)


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.qkv, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        count, tokens, width = x.shape
        parts = self.qkv(self.norm(x)).reshape(count, tokens, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        weights = (query @ key.transpose(-1, -2) * (width // self.heads) ** -0.5).softmax(-1)
        mixed: Tensor = self.out((weights @ value).transpose(1, 2).reshape(count, tokens, width))
        return mixed


class VisionTransformer(nn.Module):
    """Dosovitskiy et al. 2021 (arXiv 2010.11929), small, with the mean over its patches."""

    def __init__(self, size: int = 64, patch: int = 8, width: int = 96, depth: int = 4, classes: int = 10) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.positions = nn.Parameter(0.02 * torch.randn(1, (size // patch) ** 2, width))
        blocks: list[nn.Module] = []
        for _ in range(depth):
            pair = [nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)]
            blocks += [Residual(Attention(width, 4)), Residual(nn.Sequential(*pair))]
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, classes))

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        scores: Tensor = self.head(self.blocks(tokens).mean(1))
        return scores


def vit() -> Made:
    torch.manual_seed(7)
    return ready(VisionTransformer(), 3, 64, 64)


NETWORKS: Mapping[str, Callable[[], Made]] = MappingProxyType(
    {made.__name__: made for made in (student_128, student_256, mobilenet_v2, resnet18, cnn_1d, unet, gru, lstm, vit)}
)


def ready(module: nn.Module, *shape: int) -> Made:
    """In eval mode, with convolutions that keep a signal's variance and batch norms that differ by channel."""
    for layer in module.modules():
        if isinstance(layer, (nn.Conv1d, nn.Conv2d)):
            nn.init.kaiming_normal_(layer.weight)
        if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.uniform_(layer.weight, 0.6, 1.2)
            nn.init.normal_(layer.bias, std=0.2)
            assert layer.running_mean is not None
            assert layer.running_var is not None
            nn.init.normal_(layer.running_mean, std=0.1)
            nn.init.uniform_(layer.running_var, 0.8, 1.5)
    return module.eval(), {"input": torch.zeros(1, *shape)}
