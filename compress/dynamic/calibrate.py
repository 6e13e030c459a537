"""Thresholds of early exits from the scores of a validation part."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.compress.dynamic.gate import NEVER, Gate, sureness
from edgewright.errors import BadInput

MOST_GATES = 20_000
"""Combinations of thresholds that are tried."""

Scores = Sequence[NDArray[Any]]
"""One array [n, classes] for each exit, the last of them the network's own."""


@dataclass(frozen=True)
class Outcome:
    """What a gate does to a set of samples: accuracy (0…1), the share that leaves at each exit, the mean cost."""

    accuracy: float
    rates: tuple[float, ...]
    mean_cost: float


def outcome(gate: Gate, scores: Scores, labels: NDArray[Any], costs: Sequence[float]) -> Outcome:
    """`costs` has one number for each stage, in any unit; who leaves at exit i has paid for stages 0…i."""
    sure = [sureness(each, gate.confidence) for each in scores[:-1]]
    return _outcome(gate.thresholds, sure, _hits(scores, labels), np.cumsum(costs))


def calibrate(
    scores: Scores,
    labels: NDArray[Any],
    costs: Sequence[float],
    *,
    confidence: str = "max_probability",
    drop: float = 0.005,
    mean_cost: float | None = None,
) -> Gate:
    """The gate of least mean cost that loses at most `drop` (0…1) of the last exit's accuracy on these samples.

    With `mean_cost`, a fraction of what all stages cost together: the gate of best accuracy that stays below it.
    Raises BadInput when no gate does.
    """
    hits, totals = _hits(scores, labels), np.cumsum(costs)
    sure = [sureness(each, confidence) for each in scores[:-1]]
    found = {
        thresholds: _outcome(thresholds, sure, hits, totals)
        for thresholds in itertools.product(*(_candidates(each, len(sure)) for each in sure))
    }
    wanted = hits[-1].mean() - drop
    if mean_cost is None:
        good = {key: (each.mean_cost, -each.accuracy) for key, each in found.items() if each.accuracy >= wanted}
    else:
        limit = mean_cost * totals[-1]
        good = {key: (-each.accuracy, each.mean_cost) for key, each in found.items() if each.mean_cost <= limit}
    if not good:
        least = min(each.mean_cost for each in found.values()) / totals[-1]
        raise BadInput(
            f"early exits: no gate has a mean cost of {mean_cost}; the least is {least:.3f} of the whole network's: "
            "put an exit on an earlier layer"
        )
    return Gate(confidence, min(good, key=lambda key: (good[key], key)))


def _hits(scores: Scores, labels: NDArray[Any]) -> NDArray[np.bool_]:
    return np.stack([each.argmax(axis=1) == labels for each in scores])


def _candidates(sure: NDArray[np.float64], exits: int) -> list[float]:
    """Thresholds at which the share that leaves changes, evenly thinned, and the one that nobody reaches."""
    values = np.unique(sure)
    most = max(2, int(MOST_GATES ** (1 / exits)) - 1)
    rows = np.linspace(0, len(values) - 1, min(most, len(values))).astype(int)
    return [*values[rows].tolist(), NEVER]


def _outcome(
    thresholds: Sequence[float],
    sure: Sequence[NDArray[np.float64]],
    hits: NDArray[np.bool_],
    totals: NDArray[np.float64],
) -> Outcome:
    leaves = np.stack(
        [each >= limit for each, limit in zip(sure, thresholds, strict=True)] + [np.ones(len(hits[0]), bool)]
    )
    taken = leaves.argmax(axis=0)
    rates = np.bincount(taken, minlength=len(hits)) / len(taken)
    return Outcome(
        float(hits[taken, np.arange(len(taken))].mean()), tuple(rates.tolist()), float((rates * totals).sum())
    )
