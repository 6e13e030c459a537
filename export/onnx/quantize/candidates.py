"""One float model quantized in each way that might suit it: measured, since no range estimator is best for all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgewright.data import Samples
from edgewright.export.onnx.quantize.bias import channel_means, correct_biases
from edgewright.export.onnx.quantize.calibrate import observe
from edgewright.export.onnx.quantize.forms import Form
from edgewright.export.onnx.quantize.gptq import covariances, round_with_feedback
from edgewright.export.onnx.quantize.grid import WEIGHT_LIMIT
from edgewright.export.onnx.quantize.narrow import NARROW_LIMIT, narrow_weights
from edgewright.export.onnx.quantize.observation import Estimator
from edgewright.export.onnx.quantize.plan import plan_int8
from edgewright.export.onnx.quantize.qdq import observed_tensors
from edgewright.export.onnx.quantize.quantized import Judge, Quantized, quantized_copy, shown_db
from edgewright.progress import Progress
from edgewright.runtimes.contract import Contract

UNCLEAR_DB = 0.5
"""What a few dozen probes cannot tell from luck; error feedback wins 1.5 dB (watch) and 0.6 dB (digits) on average."""


@dataclass(frozen=True)
class Candidate:
    """The best int8 form of `form`, its estimator and SNR (dB), and the SNR of each way that was tried.

    `nearest` has weights rounded to the nearest and biases as given; `means` are those of the inputs of its layers.
    """

    form: Form
    nearest: Quantized
    means: Mapping[str, NDArray[np.float64]]
    quantized: Quantized
    estimator: Estimator
    snr_db: float
    tried_db: Mapping[str, float]

    def unless(self, other: "Candidate", margin_db: float = 0.0) -> "Candidate":
        """This one, unless the other is better by more than the margin."""
        return other if other.snr_db > self.snr_db + margin_db else self


@dataclass(frozen=True)
class Quantizer:
    """Quantizes forms of one float model under the same conditions; `judge` measures them on other samples."""

    contract: Contract
    calibration: Samples
    judge: Judge
    correct_bias: bool
    narrow: bool
    progress: Progress

    def candidate(self, form: Form, estimators: Sequence[Estimator]) -> Candidate:
        """With corrected biases where that helps; the first estimator among equals."""
        model, keep_float = form.model, form.keep_float
        tensors = observed_tensors(plan_int8(model, keep_float))
        observed = observe(model, self.contract, tensors, self.calibration, self.progress)
        means = channel_means(model, self.contract, self.calibration, self.progress) if self.correct_bias else {}
        made: dict[Estimator, Quantized] = {}
        found_db: dict[Estimator, float] = {}
        for estimator in estimators:
            ranges = {name: seen.range(estimator) for name, seen in observed.items()}
            made[estimator] = quantized_copy(model, ranges, keep_float)
            if self.narrow:
                narrow_weights(made[estimator])
            found_db[estimator] = self.judge.snr_db(correct_biases(made[estimator], means).model)
        best = max(estimators, key=lambda estimator: found_db[estimator])
        tried_db = {str(estimator): shown_db(value) for estimator, value in found_db.items()}
        plain, corrected, snr_db = made[best], correct_biases(made[best], means), found_db[best]
        if means:
            plain_db = self.judge.snr_db(plain.model)
            tried_db[f"{best}, biases as they were"] = shown_db(plain_db)
            if plain_db >= snr_db:
                corrected, snr_db = plain, plain_db
        return Candidate(form, plain, means, corrected, best, snr_db, tried_db)

    def with_feedback(self, candidate: Candidate) -> Candidate:
        """The candidate with its weights rounded by error feedback, unless the probes speak clearly against it."""
        known = covariances(candidate.form.model, self.contract, self.calibration, self.progress)
        limit = NARROW_LIMIT if self.narrow else WEIGHT_LIMIT
        rounded = correct_biases(round_with_feedback(candidate.nearest, known, limit), candidate.means)
        found_db = self.judge.snr_db(rounded.model)
        tried = dict(candidate.tried_db) | {f"{candidate.estimator}, gptq": shown_db(found_db)}
        if found_db <= candidate.snr_db - UNCLEAR_DB:
            return replace(candidate, tried_db=tried)
        return replace(candidate, quantized=rounded, snr_db=found_db, tried_db=tried)
