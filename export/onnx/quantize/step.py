"""The one int8 truth: every other int8 format is translated from the file made here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from edgewright.data import Samples
from edgewright.errors import BadInput, BadModel
from edgewright.export.onnx.file import contract_of, load_onnx, save_model
from edgewright.export.onnx.quantize.calibrate import observe
from edgewright.export.onnx.quantize.choose import choose_estimator
from edgewright.export.onnx.quantize.observation import ESTIMATORS, Estimator
from edgewright.export.onnx.quantize.plan import Plan, plan_int8
from edgewright.export.onnx.quantize.qdq import observed_tensors
from edgewright.export.steps import Job, Notes, step
from edgewright.runtimes.artifact import Artifact

MOST_PROBES = 64
FEWEST_TO_SPLIT = 16


@dataclass(frozen=True)
class QuantizeOptions:
    """`estimator` sets activation ranges ("auto": the best by measured SNR); `samples`: how many calibrate."""

    estimator: Literal["auto", "minmax", "average", "percentile"] = "auto"
    samples: int = 256

    def __post_init__(self) -> None:
        if self.estimator not in ("auto", *ESTIMATORS) or not isinstance(self.samples, int) or self.samples < 1:
            raise BadInput(f"{self}: estimator is auto, {', '.join(ESTIMATORS)}; samples at least 1")


@step(
    source="onnx:float32",
    target="onnx:int8",
    needs={"onnx": "onnx", "onnx-ir": "onnx", "onnxscript": "onnx", "onnxruntime": "onnx"},
    cost=2.0,
    options=QuantizeOptions,
    uses_data=True,
)
def quantize(source: Artifact, out: Path, job: Job, options: QuantizeOptions) -> Notes:
    """Calibrate on `job.calibration` and write Q/DQ pairs; estimators are compared on `job.validation`."""
    if job.calibration is None or len(job.calibration) == 0:
        raise BadInput("int8 needs DATA to calibrate on: give --data with a few hundred real samples")
    model = load_onnx(source.path)
    contract = contract_of(model)
    calibration, probes, origin = _split(job.calibration.first(options.samples), job.validation)
    plan = plan_int8(model)
    _require_int8(plan, source.path)
    observed = observe(model, contract, observed_tensors(plan), calibration, job.progress)
    candidates: tuple[Estimator, ...] = ESTIMATORS if options.estimator == "auto" else (options.estimator,)
    choice = choose_estimator(model, contract, observed, candidates, probes)
    save_model(choice.model, contract, out)
    return {
        "estimator": choice.estimator,
        "snr_db": dict(choice.snr_db),
        "snr_measured_on": f"{len(probes)} {origin} samples",
        "calibration_samples": len(calibration),
        "int8_ops": len(choice.plan.int8),
        "float_ops": choice.plan.float_ops(),
        "int8_share": round(choice.plan.int8_share, 4),
    }


def _require_int8(plan: Plan, path: Path) -> None:
    if not plan.int8:
        rows = "\n".join(f"  {row['op']} ({row['node']}): {row['why']}" for row in plan.float_ops()[:20])
        raise BadModel(f"{path}: no operator of it would run in int8; keep float32 or float16:\n{rows}")


def _split(calibration: Samples, validation: Samples | None) -> tuple[Samples, Samples, str]:
    """Samples to calibrate on, samples to choose by, and what the latter are: a quarter is held out if need be."""
    if validation is not None and len(validation):
        return calibration, validation.first(MOST_PROBES), "validation"
    if len(calibration) < FEWEST_TO_SPLIT:
        return calibration, calibration.first(MOST_PROBES), "calibration"
    held_out = np.arange(len(calibration)) % 4 == 3
    return calibration.at(~held_out), calibration.at(held_out).first(MOST_PROBES), "held-out calibration"
