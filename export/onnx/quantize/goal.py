"""What a mixed plan must reach: an accuracy within the budget where labels can show it, else an SNR."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgewright.data import Samples
from edgewright.devices.spec import Precision
from edgewright.export.onnx.quantize.quantized import EXACT_DB, Judge, answers, judge_of
from edgewright.export.verify import LIMITS
from edgewright.runtimes.contract import Contract

if TYPE_CHECKING:
    import onnx_ir as ir

MOST_LABELLED = 1024
FLIPS_SEEN = 2
"""The drop must be worth at least so many samples, or its measurement is a coin toss."""
MARGIN_DB = 3.0
"""Above the limit of verification: it judges on other samples."""


@dataclass(frozen=True)
class Score:
    """SNR of the worst output in dB against the float model, and the fraction of labels lost (negative: won)."""

    snr_db: float
    accuracy_drop: float | None = None

    def __str__(self) -> str:
        lost = "" if self.accuracy_drop is None else f", accuracy {-100 * self.accuracy_drop:+.2f} points"
        return f"{self.snr_db:.1f} dB{lost}"


@dataclass(frozen=True)
class Goal:
    """The least SNR, as `judge` measures it; with `labelled` also the largest drop from float's `accuracy`."""

    judge: Judge
    snr_db: float
    accuracy_drop: float
    labelled: Samples | None
    accuracy: float | None

    def score(self, model: "ir.Model") -> Score:
        """Accuracy is measured only where the SNR suffices."""
        snr_db = min(self.judge.snr_db(model), EXACT_DB)
        if self.labelled is None or self.accuracy is None or snr_db < self.snr_db:
            return Score(snr_db)
        return Score(snr_db, self.accuracy - top1(model, self.judge.contract, self.labelled))

    def met(self, score: Score) -> bool:
        """Whether a plan with this score is within the budget."""
        return score.snr_db >= self.snr_db and (
            score.accuracy_drop is None or score.accuracy_drop <= self.accuracy_drop
        )

    def __str__(self) -> str:
        if self.labelled is None:
            return f"at least {self.snr_db:g} dB on {len(self.judge.probes)} samples"
        return (
            f"at most {self.accuracy_drop:.2%} of accuracy lost on {len(self.labelled)} labelled samples, and at least "
            f"{self.snr_db:g} dB"
        )


def goal_of(
    model: "ir.Model",
    contract: Contract,
    probes: Samples,
    validation: Samples | None,
    accuracy_drop: float,
    snr_db: float,
) -> Goal:
    """The drop of accuracy decides where enough labelled samples can show it; else `snr_db` stands for it."""
    labelled = validation.first(MOST_LABELLED) if validation is not None and _shows(validation, accuracy_drop) else None
    if labelled is not None and len(contract.outputs[0].shape) != 2:
        labelled = None
    return Goal(
        judge=judge_of(model, contract, probes),
        snr_db=snr_db if labelled is None else LIMITS[Precision.MIXED].snr_db + MARGIN_DB,
        accuracy_drop=accuracy_drop,
        labelled=labelled,
        accuracy=None if labelled is None else top1(model, contract, labelled),
    )


def top1(model: "ir.Model", contract: Contract, labelled: Samples) -> float:
    """The fraction of samples whose largest score is their label's."""
    scores = answers(model, contract, labelled)[0]
    assert labelled.labels is not None
    return float(np.mean(scores.argmax(1) == labelled.labels[: len(scores)]))


def _shows(validation: Samples, accuracy_drop: float) -> bool:
    seen = min(len(validation), MOST_LABELLED)
    return validation.labels is not None and seen * accuracy_drop >= FLIPS_SEEN
