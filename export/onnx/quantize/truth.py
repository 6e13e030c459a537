"""A clean float graph and samples → its int8 truth: the best of all that was tried, then trained if asked for."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from edgewright.data import Samples
from edgewright.errors import BadInput, BadModel
from edgewright.export.onnx.quantize.candidates import Candidate, Quantizer
from edgewright.export.onnx.quantize.forms import Form, equalized_forms, scaled_input_form
from edgewright.export.onnx.quantize.observation import ESTIMATORS, Estimator
from edgewright.export.onnx.quantize.options import QuantizeOptions
from edgewright.export.onnx.quantize.plan import Plan, plan_int8
from edgewright.export.onnx.quantize.qat import fine_tune
from edgewright.export.onnx.quantize.qat import parts as qat_parts
from edgewright.export.onnx.quantize.quantized import Quantized, judge_of, shown_db
from edgewright.export.onnx.quantize.rounding import learn_rounding
from edgewright.export.steps import Job, Notes
from edgewright.runtimes.contract import Contract

if TYPE_CHECKING:
    import onnx_ir as ir

MOST_PROBES = 64
INPUT_GAIN_DB = 1.0
SAID = 3  # outlier channels that are printed; the notes have more
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
    """Calibrate on `job.calibration`; choices are measured on `job.validation`. `origin` begins the errors.

    `keep_float` maps names of nodes that stay in float to the reason. Raises BadInput without samples, BadModel when
    nothing would run in int8.
    """
    calibration, probes, measured_on = split(job, options.samples)
    _require_int8(plan_int8(model, keep_float), origin)
    judge = judge_of(model, contract, probes)
    quantizer = Quantizer(contract, calibration, judge, options.correct_bias, options.fast_x86, job.progress)
    best, tried, outliers = _best(model, quantizer, options, keep_float)
    for row in outliers[:SAID]:
        job.progress.say(
            f"outlier: channel {row['channel']} of {row['tensor']}, {row['times_median']:g} × the median range"
        )
    quantized, training = _trained(best.form.model, best.quantized, contract, job, options)
    plan = quantized.plan
    notes: Notes = {
        "estimator": best.estimator,
        "weights": best.form.name,
        "snr_db": shown_db(best.snr_db),
        "tried_db": tried,
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


def _best(
    model: "ir.Model", quantizer: Quantizer, options: QuantizeOptions, keep_float: Mapping[str, str]
) -> tuple[Candidate, dict[str, dict[str, float]], list[dict[str, Any]]]:
    """The best candidate, the SNR of all that was tried, by form, and the outlier channels.

    Each form chooses its estimator: what suits channels of unlike ranges says nothing about even ones. Scaling inputs
    costs a float operator, so it must gain more than rounding luck could.
    """
    given = Form("as given", model, dict(keep_float))
    estimators: tuple[Estimator, ...] = ESTIMATORS if options.estimator == "auto" else (options.estimator,)
    best = quantizer.candidate(given, estimators)
    tried, outliers = {given.name: dict(best.tried_db)}, list[dict[str, Any]]()
    contract, calibration, progress = quantizer.contract, quantizer.calibration, quantizer.progress
    if options.equalize:
        forms, outliers = equalized_forms(model, contract, calibration, progress)
        for form in forms:
            found = quantizer.candidate(replace(form, keep_float=dict(keep_float)), estimators)
            tried[form.name] = dict(found.tried_db)
            best = best.unless(found)
    if options.scale_inputs and (scaled := scaled_input_form(best.form, contract, calibration, progress)):
        found = quantizer.candidate(scaled, (best.estimator,))
        tried[scaled.name] = dict(found.tried_db)
        best = best.unless(found, INPUT_GAIN_DB)
    if options.rounding != "nearest":
        best = quantizer.with_feedback(best)
        tried[best.form.name] = dict(best.tried_db)
    return best, tried, outliers


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
        raise BadModel(f"{origin}: no operator of this model would run in int8; keep float32 or float16:\n{rows}")
