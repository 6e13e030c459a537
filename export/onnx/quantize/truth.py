"""A clean float graph and samples → its int8 truth: observe, choose the estimator."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from edgewright.data import Samples
from edgewright.errors import BadInput, BadModel
from edgewright.export.onnx.quantize.calibrate import observe
from edgewright.export.onnx.quantize.choose import Quantized, choose_estimator
from edgewright.export.onnx.quantize.observation import ESTIMATORS, Estimator
from edgewright.export.onnx.quantize.options import QuantizeOptions
from edgewright.export.onnx.quantize.plan import Plan, plan_int8
from edgewright.export.onnx.quantize.qdq import observed_tensors
from edgewright.export.steps import Job, Notes
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
    plan = plan_int8(model, keep_float)
    _require_int8(plan, origin)
    observed = observe(model, contract, observed_tensors(plan), calibration, job.progress)
    candidates: tuple[Estimator, ...] = ESTIMATORS if options.estimator == "auto" else (options.estimator,)
    choice = choose_estimator(model, contract, observed, candidates, probes, keep_float)
    plan = choice.quantized.plan
    notes: Notes = {
        "estimator": choice.estimator,
        "snr_db": dict(choice.snr_db),
        "snr_measured_on": f"{len(probes)} {measured_on} samples",
        "calibration_samples": len(calibration),
        "int8_ops": len(plan.int8),
        "float_ops": plan.float_ops(),
        "int8_share": round(plan.int8_share, 4),
    }
    return Truth(choice.quantized, notes)


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
