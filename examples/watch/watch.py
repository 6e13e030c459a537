"""A 1-D CNN for two seconds of a smartwatch's accelerometer and gyroscope: seven exercises."""

import torch
from torch import Tensor, nn


class WatchCNN(nn.Module):
    """[n, 6, 100] → [n, 7]. Three convolutions, global average, one linear layer."""

    def __init__(self, widths: tuple[int, int, int] = (48, 64, 96), classes: int = 7) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        channels = 6
        for width in widths:
            blocks += [
                nn.Conv1d(channels, width, 5, padding=2, bias=False),
                nn.BatchNorm1d(width),
                nn.ReLU(),
                nn.MaxPool1d(2),
            ]
            channels = width
        self.features = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool1d(1)
        self.classifier = nn.Linear(channels, classes)

    def forward(self, window: Tensor) -> Tensor:
        return self.classifier(self.pool(self.features(window)).flatten(1))


def watch_cnn() -> tuple[nn.Module, dict[str, Tensor]]:
    """The factory that edgewright calls: the module and one example of its input."""
    return WatchCNN(), {"window": torch.zeros(1, 6, 100)}
