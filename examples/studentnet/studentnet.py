"""StudentNet: a small image classifier of depthwise-separable blocks, in the manner of MobileNet (arXiv 1704.04861)."""

import torch
from torch import Tensor, nn


def separable(inputs: int, outputs: int, *, pool: bool) -> nn.Sequential:
    """Depthwise 3×3, batch norm, ReLU6, pointwise 1×1 (no activation behind it), and a 2×2 max pool on request."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs),
        nn.BatchNorm2d(inputs),
        nn.ReLU6(),
        nn.Conv2d(inputs, outputs, 1),
    ]
    return nn.Sequential(*layers, nn.MaxPool2d(2)) if pool else nn.Sequential(*layers)


class StudentNet(nn.Module):
    """[n, channels, H, W] → [n, classes]. `width_mult` scales the widths of blocks 3 to 6."""

    def __init__(self, base: int = 16, width_mult: float = 1.0, channels: int = 3, classes: int = 11) -> None:
        super().__init__()
        widths = [base * factor for factor in (1, 2, 4, 8, 16, 16, 16, 16)]
        widths[3:7] = [int(width * width_mult) for width in widths[3:7]]
        stem = nn.Sequential(
            nn.Conv2d(channels, widths[0], 3, padding=1), nn.BatchNorm2d(widths[0]), nn.ReLU6(), nn.MaxPool2d(2)
        )
        blocks = [separable(widths[i], widths[i + 1], pool=i < 3) for i in range(7)]
        self.features = nn.Sequential(stem, *blocks, nn.AdaptiveAvgPool2d(1))
        self.classifier = nn.Linear(widths[-1], classes)

    def forward(self, image: Tensor) -> Tensor:
        return self.classifier(self.features(image).flatten(1))


def fashion_mnist() -> tuple[nn.Module, dict[str, Tensor]]:
    """The factory that edgewright calls: ten classes of grey 32×32 images."""
    return StudentNet(channels=1, classes=10), {"image": torch.zeros(1, 1, 32, 32)}
