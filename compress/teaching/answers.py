"""What a teacher says to each sample: computed once, kept in memory or, in a folder, on disk."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from edgewright.compress.checkpoint import module_digest
from edgewright.compress.teaching.hints import Hint, watched
from edgewright.compress.training import tensors_of
from edgewright.data import Samples
from edgewright.progress import Progress
from edgewright.staging import replacing

BATCH = 256


@dataclass(frozen=True)
class Answers:
    """Class scores [n, classes] before softmax, and for each hint what the teacher's layer shows, all float32."""

    scores: NDArray[np.float32]
    shown: tuple[NDArray[np.float32], ...] = ()


def answers(
    teacher: nn.Module, samples: Samples, hints: Sequence[Hint], progress: Progress, folder: Path | None = None
) -> Answers:
    """The answers of a teacher in eval mode.

    In `folder` they are files, read again by a later call with the same teacher (its weights and the structure that
    torch prints), inputs and hints, and mapped rather than loaded: features may be larger than memory.
    """
    if folder is None:
        return _computed(teacher, samples, hints, progress, None)
    place = folder / f"answers-{_key(teacher, samples, hints)}"
    if not place.is_dir():
        with replacing(place) as made:
            made.mkdir()
            _computed(teacher, samples, hints, progress, made)
    scores, *shown = (np.load(place / f"{index}.npy", mmap_mode="r") for index in range(1 + len(hints)))
    return Answers(scores, tuple(shown))


def softened(everyone: Sequence[Answers], temperature: float, rows: NDArray[np.int64]) -> Tensor:
    """The mean of the teachers' probabilities at a temperature, for some samples: [b, classes]."""
    each = [functional.softmax(at(answer.scores, rows) / temperature, dim=1) for answer in everyone]
    return torch.stack(each).mean(0)


def at(array: NDArray[np.float32], rows: NDArray[np.int64]) -> Tensor:
    """Some rows as a tensor of their own."""
    return torch.from_numpy(np.ascontiguousarray(array[rows]))


def _computed(
    teacher: nn.Module, samples: Samples, hints: Sequence[Hint], progress: Progress, folder: Path | None
) -> Answers:
    inputs = tensors_of(samples)
    arrays: list[NDArray[np.float32]] = []
    with (
        torch.no_grad(),
        watched(teacher, [hint.teacher for hint in hints]) as found,
        progress.task("ask the teacher", len(samples)) as advance,
    ):
        for rows in torch.split(torch.arange(len(samples)), BATCH):
            scores = teacher(*(tensor[rows] for tensor in inputs))
            given = [scores, *(hint.seen(found[hint.teacher]) for hint in hints)]
            if not arrays:
                shapes = [(len(samples), *tensor.shape[1:]) for tensor in given]
                arrays = [_array(folder, index, shape) for index, shape in enumerate(shapes)]
            for array, tensor in zip(arrays, given, strict=True):
                array[rows.numpy()] = tensor.float().numpy()
            advance(len(rows))
    return Answers(arrays[0], tuple(arrays[1:]))


def _array(folder: Path | None, index: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    if folder is None:
        return np.empty(shape, np.float32)
    create: Any = np.lib.format.open_memmap
    mapped: NDArray[np.float32] = create(folder / f"{index}.npy", "w+", np.float32, shape)
    return mapped


def _key(teacher: nn.Module, samples: Samples, hints: Sequence[Hint]) -> str:
    layers = [(hint.teacher, hint.kind, hint.positions) for hint in hints]
    identity = (module_digest(teacher), Samples(samples.inputs).digest(), layers)
    return hashlib.sha256(repr(identity).encode()).hexdigest()[:16]
