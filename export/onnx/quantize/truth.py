"""A clean float graph and samples → its int8 truth: observe, choose the estimator."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from edgewright.export.onnx.quantize.observation import ESTIMATORS, Estimator
from edgewright.export.onnx.quantize.options import QuantizeOptions
from edgewright.export.onnx.quantize.plan import Plan, plan_int8
from edgewright.export.onnx.quantize.qdq import observed_tensors
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
    candidates: tuple[Estimator, ...] = ESTIMATORS if options.estimator == "auto" else (options.estimator,)
    best = _choice(model, contract, calibration, candidates, judge, keep_float, job.progress)
    snr_of, stages, outliers = best.shown, {"as given": shown_db(best.best_db)}, list[dict[str, Any]]()
    if options.equalize:
        forms, outliers = equalized_forms(model, contract, calibration, job.progress)
        for name, form in forms.items():
            found = _choice(form, contract, calibration, (best.estimator,), judge, keep_float, job.progress)
            stages[name] = shown_db(found.best_db)
            best = max(best, found, key=lambda each: each.best_db)  # the first among equals
    quantized = best.quantized
    if options.correct_bias:
        corrected = correct_biases(quantized, contract, calibration, job.progress)
        found_db = judge.snr_db(corrected.model)
        stages["bias corrected"] = shown_db(found_db)
        quantized = corrected if found_db > best.best_db else quantized
    plan = quantized.plan
    notes: Notes = {
        "estimator": best.estimator,
        "snr_db": snr_of,
        "stages_db": stages,
        "snr_measured_on": f"{len(probes)} {measured_on} samples",
        "calibration_samples": len(calibration),
        "outlier_channels": outliers,
        "int8_ops": len(plan.int8),
        "float_ops": plan.float_ops(),
        "int8_share": round(plan.int8_share, 4),
    }
    return Truth(quantized, notes)


def _choice(
    model: "ir.Model",
    contract: Contract,
    calibration: Samples,
    candidates: Sequence[Estimator],
    judge: Judge,
    keep_float: Mapping[str, str],
    progress: Progress,
) -> Choice:
    tensors = observed_tensors(plan_int8(model, keep_float))
    observed = observe(model, contract, tensors, calibration, progress)
    return choose_estimator(model, observed, candidates, judge, keep_float)


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
