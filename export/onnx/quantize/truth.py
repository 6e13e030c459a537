"""A clean float graph and samples → its int8 truth: observe, choose the estimator."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from edgewright.data import Samples
from edgewright.errors import BadInput, BadModel
from edgewright.export.onnx.quantize.bias import correct_biases
from edgewright.export.onnx.quantize.calibrate import observe
from edgewright.export.onnx.quantize.channels import observe_channels, outlier_notes
from edgewright.export.onnx.quantize.choose import Choice, Judge, Quantized, choose_estimator, judge_of, shown_db
from edgewright.export.onnx.quantize.equalize import channel_groups, equalize
from edgewright.export.onnx.quantize.narrow import narrow_weights
from edgewright.export.onnx.quantize.observation import ESTIMATORS, Estimator
from edgewright.export.onnx.quantize.options import QuantizeOptions
from edgewright.export.onnx.quantize.plan import Plan, plan_int8
from edgewright.export.onnx.quantize.qat import fine_tune
from edgewright.export.onnx.quantize.qat import parts as qat_parts
from edgewright.export.onnx.quantize.qdq import observed_tensors
from edgewright.export.onnx.quantize.rounding import learn_rounding
from edgewright.export.steps import Job, Notes
from edgewright.progress import Progress
from edgewright.runtimes.contract import Contract

if TYPE_CHECKING:
    import onnx_ir as ir

MOST_PROBES = 64
FEWEST_TO_SPLIT = 16


@dataclass(frozen=True)
class Truth:
    """The int8 model and what goes on record about how it was made."""

    quantized: Quantized
    notes: Notes


def make_truth(
    model: "ir.Model",
    contract: Contract,
    job: Job,
    options: QuantizeOptions,
    origin: str,
    keep_float: Mapping[str, str] = MappingProxyType({}),
) -> Truth:
    """Calibrate on `job.calibration`; choices are measured on `job.validation`. `origin` names the model in errors.

    `keep_float` maps names of nodes that stay in float to the reason. Raises BadInput without samples, BadModel when
    nothing would run in int8.
    """
    calibration, probes, measured_on = split(job, options.samples)
    _require_int8(plan_int8(model, keep_float), origin)
    judge = judge_of(model, contract, probes)
    quantizer = _Quantizer(
        contract, calibration, judge, keep_float, options.correct_bias, options.fast_x86, job.progress
    )
    estimators: tuple[Estimator, ...] = ESTIMATORS if options.estimator == "auto" else (options.estimator,)
    tried = {"as given": quantizer.quantize(model, estimators)}
    given, outliers = tried["as given"].choice, list[dict[str, Any]]()
    forms: dict[str, ir.Model] = {}
    if options.equalize:
        forms, outliers = equalized_forms(model, contract, calibration, job.progress)
        tried |= {name: quantizer.quantize(form, (given.estimator,)) for name, form in forms.items()}
    best = max(tried, key=lambda name: tried[name].snr_db)  # the first among equals
    quantized, training = _trained(forms.get(best, model), tried[best].quantized, contract, job, options)
    plan = quantized.plan
    notes: Notes = {
        "estimator": given.estimator,
        "snr_db": {name: shown_db(found) for name, found in given.snr_db.items()},
        "improvements_db": {f"{name}, {how}": shown_db(db) for name, each in tried.items() for how, db in each.tried},
        "weights": best,
        "snr_measured_on": f"{len(probes)} {measured_on} samples",
        "calibration_samples": len(calibration),
        "outlier_channels": outliers,
        "int8_ops": len(plan.int8),
        "float_ops": plan.float_ops(),
        "int8_share": round(plan.int8_share, 4),
        "weight_bits": 7 if options.fast_x86 else 8,
        **training,
    }
    return Truth(quantized, notes)


def _trained(
    form: "ir.Model", quantized: Quantized, contract: Contract, job: Job, options: QuantizeOptions
) -> tuple[Quantized, Notes]:
    """With weights and biases trained on their grids, as far as asked for; `form` is the float model behind it."""
    calibration, probes, _ = split(job, options.samples)
    notes: Notes = {}
    if options.rounding == "learned":
        quantized, notes["learned_rounding"] = learn_rounding(
            form, quantized, contract, calibration, probes, job.progress, options.rounding_seconds
        )
    if options.qat is not None and job.calibration is not None:
        train, validation = qat_parts(job, job.calibration)
        quantized, notes["qat"] = fine_tune(form, quantized, contract, train, validation, options.qat, job.progress)
    return quantized, notes


@dataclass(frozen=True)
class _Candidate:
    """An int8 model, its estimator, its SNR, and the SNR of each way in which its biases were tried."""

    choice: Choice
    quantized: Quantized
    snr_db: float
    tried: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class _Quantizer:
    """Quantizes forms of one float model under the same conditions."""

    contract: Contract
    calibration: Samples
    judge: Judge
    keep_float: Mapping[str, str]
    correct_bias: bool
    fast_x86: bool
    progress: Progress

    def quantize(self, form: "ir.Model", estimators: Sequence[Estimator]) -> _Candidate:
        tensors = observed_tensors(plan_int8(form, self.keep_float))
        observed = observe(form, self.contract, tensors, self.calibration, self.progress)
        choice = choose_estimator(form, observed, estimators, self.judge, self.keep_float)
        nearest_db = choice.best_db
        if self.fast_x86:
            narrow_weights(choice.quantized)
            nearest_db = self.judge.snr_db(choice.quantized.model)
        rounded = _Candidate(choice, choice.quantized, nearest_db, (("nearest", nearest_db),))
        if not self.correct_bias:
            return rounded
        corrected = correct_biases(choice.quantized, self.contract, self.calibration, self.progress)
        found_db = self.judge.snr_db(corrected.model)
        tried = (*rounded.tried, ("biases corrected", found_db))
        if found_db <= nearest_db:
            return replace(rounded, tried=tried)
        return _Candidate(choice, corrected, found_db, tried)


def equalized_forms(
    model: "ir.Model", contract: Contract, samples: Samples, progress: Progress
) -> tuple[dict[str, "ir.Model"], list[dict[str, Any]]]:
    """Copies of the float model with equalized channels, by what was done, and the outlier channels of the model.

    Where a Clip bounds channels, what is gained is not certain: there is a form without those.
    """
    groups = channel_groups(model)
    names = {str(value.name) for group in groups for value in group.tensors}
    if not names:
        return {}, []
    seen = observe_channels(model, contract, names, samples, progress)
    forms = {}
    for name, bounded in (("equalized", True), ("equalized but for bounded channels", False)):
        if not bounded and not any(group.bounds for group in groups):
            continue
        copy = model.clone()
        if equalize([group for group in channel_groups(copy) if bounded or not group.bounds], seen):
            forms[name] = copy
    return forms, outlier_notes(seen)


def split(job: Job, most: int) -> tuple[Samples, Samples, str]:
    """Samples to calibrate on, samples to choose by, and what the latter are: a quarter is held out if need be."""
    if job.calibration is None or len(job.calibration) == 0:
        raise BadInput("int8 needs DATA to calibrate on: give --data with a few hundred real samples")
    calibration, validation = job.calibration.first(most), job.validation
    if validation is not None and len(validation):
        return calibration, validation.first(MOST_PROBES), "validation"
    if len(calibration) < FEWEST_TO_SPLIT:
        return calibration, calibration.first(MOST_PROBES), "calibration"
    held_out = np.arange(len(calibration)) % 4 == 3
    return calibration.at(~held_out), calibration.at(held_out).first(MOST_PROBES), "held-out calibration"


def _require_int8(plan: Plan, origin: str) -> None:
    if not plan.int8:
        rows = "\n".join(f"  {row['op']} ({row['node']}): {row['why']}" for row in plan.float_ops()[:20])
        raise BadModel(f"{origin}: no operator of it would run in int8; keep float32 or float16:\n{rows}")
