"""A small training loop for classifiers: seeded, one thread, early-stopped on the validation part.

A user's own function of the same signature can take its place in a recipe.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgewright.data import Samples
from edgewright.errors import BadData, BadInput
from edgewright.progress import Progress, Silent

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Training:
    """Adam with a one-cycle learning rate; `weight_decay` is decoupled (AdamW, arXiv 1711.05101)."""

    epochs: int = 30
    batch: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    label_smoothing: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 2 or self.learning_rate <= 0:
            raise BadInput(f"training wants epochs ≥ 1, batch ≥ 2 and a positive learning rate, got {self}")


def train_classifier(
    module: "nn.Module", train: Samples, validation: Samples, settings: Training, progress: Progress | None = None
) -> float:
    """Train `module` in place and leave it in eval mode with the weights of its best validation epoch.

    Inputs are [n, ...] float arrays, labels [n] class indices. Returns the best validation accuracy (0…1).
    Raises BadData when labels are missing or the loss is no longer finite.
    """
    import torch

    for part, samples in (("train", train), ("validation", validation)):
        if len(samples) == 0 or samples.labels is None:
            raise BadData(f"training needs labelled samples in the {part} part; there are {len(samples)}")
    torch.set_num_threads(1)
    torch.manual_seed(settings.seed)
    inputs, labels = _tensors(train)
    steps = -(-len(labels) // settings.batch)
    optimizer = torch.optim.AdamW(module.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=settings.epochs * steps + 1
    )
    loss_of = torch.nn.CrossEntropyLoss(label_smoothing=settings.label_smoothing)
    best, best_state = -1.0, copy.deepcopy(module.state_dict())
    with (progress or Silent()).task(f"train {settings.epochs} epochs", settings.epochs * steps) as advance:
        for _ in range(settings.epochs):
            module.train()
            for rows in torch.split(torch.randperm(len(labels)), settings.batch):
                if len(rows) < 2:  # batch normalization has no variance over one sample
                    advance(1)
                    continue
                optimizer.zero_grad()
                loss = loss_of(module(*(tensor[rows] for tensor in inputs)), labels[rows])
                if not torch.isfinite(loss):
                    raise BadData("the training loss is not finite: lower the learning rate or check the data")
                loss.backward()
                optimizer.step()
                schedule.step()
                advance(1)
            accuracy = accuracy_of(module, validation)
            if accuracy > best:
                best, best_state = accuracy, copy.deepcopy(module.state_dict())
    module.load_state_dict(best_state)
    module.eval()
    return best


Fit = Callable[["nn.Module", Samples, Samples, Training, Progress], float]
"""Trains a module in place on a train and a validation part; gives the best validation accuracy (0…1)."""


def accuracy_of(module: "nn.Module", samples: Samples, batch: int = 512) -> float:
    """Top-1 accuracy (0…1) in eval mode."""
    import torch

    module.eval()
    inputs, labels = _tensors(samples)
    hits = 0
    with torch.no_grad():
        for rows in torch.split(torch.arange(len(labels)), batch):
            hits += int((module(*(tensor[rows] for tensor in inputs)).argmax(1) == labels[rows]).sum())
    return hits / len(labels)


def _tensors(samples: Samples) -> tuple[list["Tensor"], "Tensor"]:
    import torch

    assert samples.labels is not None
    return [torch.from_numpy(np.ascontiguousarray(array)) for array in samples.inputs.values()], torch.from_numpy(
        samples.labels.astype(np.int64)
    )
