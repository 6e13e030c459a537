"""A teacher: ResNet-18 (arXiv 1512.03385) for small images. Its students are in `../studentnet/` and `../watch/`."""

from itertools import pairwise

import torch
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3×3 convolutions with batch norm beside an identity, or beside a 1×1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        inner = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(inner)) + self.shortcut(x))


class ResNet18(nn.Module):
    """[n, channels, H, W] → [n, classes], with the stem for 32×32 images: one 3×3 convolution, no pooling."""

    def __init__(self, width: int = 16, channels: int = 1, classes: int = 10) -> None:
        super().__init__()
        widths = (width, width, 2 * width, 4 * width, 8 * width)
        self.stem = nn.Sequential(nn.Conv2d(channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        stages = []
        for stage, (inputs, outputs) in enumerate(pairwise(widths)):
            stages += [BasicBlock(inputs, outputs, 2 if stage else 1), BasicBlock(outputs, outputs, 1)]
        self.features = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(widths[-1], classes)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.pool(self.features(self.stem(image))).flatten(1))
        return logits


def resnet18(width: int = 16, channels: int = 1, classes: int = 10) -> nn.Module:
    """The topology at any width; ImageNet's has 64."""
    return ResNet18(width, channels, classes)


def fashion_mnist() -> tuple[nn.Module, dict[str, Tensor]]:
    """The factory that edgewright calls: ten classes of grey 32×32 images."""
    return resnet18(), {"image": torch.zeros(1, 1, 32, 32)}
