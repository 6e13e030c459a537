"""Modules with several answers, trained by the loop for modules with one."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgewright.compress.passes import Given
from edgewright.data import Samples
from edgewright.errors import BadData, BadInput

Loss = Callable[[tuple[Tensor, ...], Tensor], Tensor]
"""Of all answers [b, classes] and the labels [b]."""


class Together(nn.Module):
    """While it trains, a tuple of all answers; in evaluation their mean probability, by which epochs are compared."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Tensor) -> Any:
        answers = self.module(*inputs)
        return answers if self.training else torch.stack([each.softmax(1) for each in answers]).mean(0)


def train_together(module: nn.Module, given: Given, loss: Loss, what: str) -> float:
    """Train `module`, which gives a tuple of scores, in place with the loop and settings of `given`.

    Returns the best validation accuracy (0…1) of the mean answer. Raises BadData without labelled samples, BadInput
    when `given.fit` takes no loss.
    """
    train, validation, settings = given.train, given.validation, given.finetune
    if train is None or validation is None or settings is None or train.labels is None:
        raise BadData(f"{what}: training needs labelled samples, and settings")
    if "loss" not in inspect.signature(given.fit).parameters:
        raise BadInput(f"{what}: the training function must take a keyword `loss` and descend it")
    labels = torch.from_numpy(train.labels.astype(np.int64))
    fit: Any = given.fit
    best: float = fit(
        Together(module),
        train,
        validation,
        settings,
        given.progress,
        loss=lambda answers, rows: loss(answers, labels[rows]),
    )
    module.eval()
    return best


def answers_of(module: nn.Module, samples: Samples, batch: int = 512) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
    """Each answer [n, classes] of a module that gives a tuple of them, in eval mode."""
    module.eval()
    inputs = [torch.from_numpy(np.ascontiguousarray(array)) for array in samples.inputs.values()]
    with torch.no_grad():
        pieces = [
            module(*(tensor[rows] for tensor in inputs)) for rows in torch.split(torch.arange(len(samples)), batch)
        ]
    return [torch.cat(each).numpy() for each in zip(*pieces, strict=True)]
