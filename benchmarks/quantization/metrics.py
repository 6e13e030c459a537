"""How near an answer is to a reference."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def snr_db(reference: Array, answer: Array) -> float:
    """10 log10(Σ reference² / Σ (answer - reference)²); infinity for equal arrays, -infinity where not finite."""
    truth = np.asarray(reference, np.float64)
    noise = float(np.sum((np.asarray(answer, np.float64) - truth) ** 2))
    if not np.isfinite(noise):
        return float("-inf")
    return float("inf") if noise == 0 else float(10 * np.log10(max(float(np.sum(truth**2)), 1e-300) / noise))


def same_top1(a: Array, b: Array) -> float:
    """The share (0…1) of rows [n, classes] with the same largest entry."""
    return float(np.mean(a.argmax(1) == b.argmax(1)))


def accuracy(scores: Array, labels: Array) -> float:
    """The share (0…1) of rows [n, classes] whose largest entry is the label's."""
    return float(np.mean(scores.argmax(1) == labels))


def steps_apart(a: Array, b: Array) -> Array:
    """The distance of integer codes, each as an int."""
    return np.asarray(np.abs(np.asarray(a, np.int64) - np.asarray(b, np.int64)))
