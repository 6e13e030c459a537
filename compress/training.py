"""A small training loop: seeded, one thread, early-stopped on the validation part, resumed after a kill.

A user's own function of the same signature can take its place in a recipe.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgewright.compress.checkpoint import below, module_digest, read_checkpoint, write_checkpoint
from edgewright.data import Samples
from edgewright.errors import BadData, BadInput
from edgewright.progress import Progress, Silent

if TYPE_CHECKING:
    from torch import Tensor, nn

Loss = Callable[["Tensor", "Tensor"], "Tensor"]
"""(what the module gives for some samples of the train part, their rows [b] in it) → the scalar to descend."""


@dataclass(frozen=True)
class Training:
    """Adam with a one-cycle learning rate; `weight_decay` is decoupled (AdamW, arXiv 1711.05101).

    With `patience`, training stops after so many epochs without a better validation accuracy; 0: never.
    """

    epochs: int = 30
    batch: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    label_smoothing: float = 0.0
    seed: int = 0
    patience: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 2 or self.learning_rate <= 0 or self.patience < 0:
            raise BadInput(
                f"training wants epochs ≥ 1, batch ≥ 2, a positive learning rate and patience ≥ 0, got {self}"
            )


def train_classifier(
    module: "nn.Module",
    train: Samples,
    validation: Samples,
    settings: Training,
    progress: Progress | None = None,
    *,
    loss: Loss | None = None,
    checkpoints: Path | None = None,
) -> float:
    """Train `module` in place and leave it in eval mode with the weights of its best validation epoch.

    Inputs are [n, ...] float arrays, labels [n] class indices. Without `loss` it is the cross-entropy of the labels.
    In the folder `checkpoints` each epoch leaves its state, from which the same call goes on after a kill, to the same
    weights; a folder serves one loss. Returns the best validation accuracy (0…1).
    Raises BadData when labels are missing or the loss is no longer finite.
    """
    import torch

    for part, samples in (("train", train), ("validation", validation)):
        if len(samples) == 0 or (samples.labels is None and not (loss and part == "train")):
            raise BadData(f"training needs labelled samples in the {part} part; there are {len(samples)}")
    inputs = tensors_of(train)
    loss = loss or _cross_entropy(train, settings)
    steps = -(-len(train) // settings.batch)
    with (
        seeded(settings.seed),
        (progress or Silent()).task(f"train {settings.epochs} epochs", settings.epochs * steps) as advance,
    ):
        run = _Run(module, settings, steps, checkpoints and checkpoints / _name(module, train, validation, settings))
        advance(run.epoch * steps)
        while not run.finished:
            module.train()
            for rows in torch.split(torch.randperm(len(train)), settings.batch):
                if len(rows) > 1:  # batch normalization has no variance over one sample
                    run.step(loss(module(*(tensor[rows] for tensor in inputs)), rows))
                advance(1)
            run.end_epoch(accuracy_of(module, validation))
        run.restore_best()
    return run.best


Fit = Callable[["nn.Module", Samples, Samples, Training, Progress], float]
"""Trains a module in place on a train and a validation part; gives the best validation accuracy (0…1).

To be used for distillation it takes a keyword `loss: Loss` and descends it instead of its own.
"""


class _Run:
    """The state of one training between its epochs, kept in `file` where one is given."""

    def __init__(self, module: "nn.Module", settings: Training, steps: int, file: Path | None) -> None:
        import torch

        self._module, self._settings, self._file = module, settings, file
        self._optimizer = torch.optim.AdamW(
            module.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
        )
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer, settings.learning_rate, total_steps=settings.epochs * steps + 1
        )
        self.epoch, self.best, self._best_epoch = 0, -1.0, 0
        self._best_weights = _weights(module)
        if file is not None:
            self._resume(file)

    @property
    def finished(self) -> bool:
        patience = self._settings.patience
        out_of_patience = patience > 0 and self.epoch - self._best_epoch >= patience
        return self.epoch >= self._settings.epochs or out_of_patience

    def step(self, loss: "Tensor") -> None:
        if not loss.isfinite():
            raise BadData("the training loss is not finite: lower the learning rate or check the data")
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self._schedule.step()

    def end_epoch(self, accuracy: float) -> None:
        self.epoch += 1
        if accuracy > self.best:
            self.best, self._best_epoch, self._best_weights = accuracy, self.epoch, _weights(self._module)
        if self._file is not None:
            self._keep(self._file)

    def restore_best(self) -> None:
        self._module.load_state_dict(self._best_weights)
        self._module.eval()

    def _keep(self, file: Path) -> None:
        import torch

        optimizer = self._optimizer.state_dict()
        moments = {f"{index}.{name}": t for index, state in optimizer["state"].items() for name, t in state.items()}
        groups = {"module": self._module.state_dict(), "best": self._best_weights, "optimizer": moments}
        tensors = {f"{group}.{name}": t for group, named in groups.items() for name, t in named.items()}
        facts = {
            "epoch": self.epoch,
            "best": self.best,
            "best_epoch": self._best_epoch,
            "groups": optimizer["param_groups"],
            "schedule": self._schedule.state_dict(),
        }
        write_checkpoint(file, tensors | {"random": torch.get_rng_state()}, facts)

    def _resume(self, file: Path) -> None:
        import torch

        if (found := read_checkpoint(file)) is None:
            return
        tensors, facts = found
        self._module.load_state_dict(below("module.", tensors))
        self._best_weights = below("best.", tensors)
        moments: dict[int, dict[str, Tensor]] = {}
        for key, tensor in below("optimizer.", tensors).items():
            index, _, name = key.partition(".")
            moments.setdefault(int(index), {})[name] = tensor
        self._optimizer.load_state_dict({"state": moments, "param_groups": facts["groups"]})
        self._schedule.load_state_dict(facts["schedule"])
        torch.set_rng_state(tensors["random"])
        self.epoch, self.best, self._best_epoch = facts["epoch"], facts["best"], facts["best_epoch"]


def accuracy_of(module: "nn.Module", samples: Samples, batch: int = 512) -> float:
    """Top-1 accuracy (0…1) in eval mode."""
    import torch

    module.eval()
    inputs, labels = tensors_of(samples), _labels(samples)
    hits = 0
    with torch.no_grad():
        for rows in torch.split(torch.arange(len(labels)), batch):
            hits += int((module(*(tensor[rows] for tensor in inputs)).argmax(1) == labels[rows]).sum())
    return hits / len(labels)


def tensors_of(samples: Samples) -> "list[Tensor]":
    """The inputs in their order, without a copy where they allow it."""
    import torch

    return [torch.from_numpy(np.ascontiguousarray(array)) for array in samples.inputs.values()]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """torch on one thread, its random numbers from `seed`; both as they were afterwards."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)


def _cross_entropy(train: Samples, settings: Training) -> Loss:
    import torch

    labels = _labels(train)
    loss_of = torch.nn.CrossEntropyLoss(label_smoothing=settings.label_smoothing)
    return lambda outputs, rows: loss_of(outputs, labels[rows])


def _labels(samples: Samples) -> "Tensor":
    import torch

    assert samples.labels is not None
    return torch.from_numpy(samples.labels.astype(np.int64))


def _weights(module: "nn.Module") -> "dict[str, Tensor]":
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def _name(module: "nn.Module", train: Samples, validation: Samples, settings: Training) -> str:
    """A file name of its own for each start, data and settings."""
    identity = (asdict(settings), train.digest(), validation.digest(), module_digest(module))
    return f"training-{hashlib.sha256(repr(identity).encode()).hexdigest()[:16]}.safetensors"
