"""A user's module for the build tests: small, trained in a second, with labels that can be learnt."""

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU6(), nn.MaxPool2d(2),
            nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        )  # fmt: skip
        self.head = nn.Linear(16, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.head(self.features(image).flatten(1))
        return scores


def net() -> tuple[nn.Module, torch.Tensor]:
    return Net(), torch.zeros(1, 1, 12, 12)


def net_without_example() -> nn.Module:
    return Net()
