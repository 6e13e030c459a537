"""The gate behind each early exit, in numpy alone: an app repeats it in a few lines."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.errors import BadInput

NEVER = 2.0
"""A threshold that no sample reaches."""

RULES = {
    "max_probability": "p = softmax(scores); leave when max(p) >= threshold",
    "entropy": "p = softmax(scores); leave when 1 + sum(p * ln(p)) / ln(number of classes) >= threshold",
}
"""How sure an exit is of its scores, from 0 to 1."""


@dataclass(frozen=True)
class Gate:
    """`thresholds` has one number for each early exit; a sample leaves where the exit is at least that sure."""

    confidence: str
    thresholds: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.confidence not in RULES:
            raise BadInput(f"a gate's confidence is {self.confidence!r}; known: {', '.join(RULES)}")

    def leaves(self, exit_: int, scores: NDArray[Any]) -> NDArray[np.bool_]:
        """Which samples [n] leave at early exit `exit_` (0 is the first) with these scores [n, classes]."""
        return sureness(scores, self.confidence) >= self.thresholds[exit_]

    def to_json(self) -> dict[str, Any]:
        return {"confidence": self.confidence, "rule": RULES[self.confidence], "thresholds": list(self.thresholds)}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "Gate":
        return cls(raw["confidence"], tuple(raw["thresholds"]))


def sureness(scores: NDArray[Any], confidence: str) -> NDArray[np.float64]:
    """How sure each row of scores [n, classes] is, 0…1: the greatest probability, or one less the relative entropy."""
    shifted = scores.astype(np.float64) - scores.max(axis=1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    if confidence == "max_probability":
        return np.asarray(np.exp(logs.max(axis=1)))
    return np.asarray(1 + (np.exp(logs) * logs).sum(axis=1) / log(scores.shape[1]))
