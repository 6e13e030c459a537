"""Which range estimator suits this model: measured, since no rule holds for all networks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgewright.data import Samples
from edgewright.export.onnx.quantize.calibrate import batches, open_session
from edgewright.export.onnx.quantize.observation import Estimator, Observation
from edgewright.export.onnx.quantize.plan import Plan, plan_int8
from edgewright.export.onnx.quantize.qdq import insert_qdq
from edgewright.export.verify import snr_db
from edgewright.runtimes.contract import Contract

if TYPE_CHECKING:
    import onnx_ir as ir

EXACT_DB = 200.0
"""What stands on record for equal answers: JSON has no infinity."""


@dataclass(frozen=True)
class Choice:
    """The int8 model, its plan, its estimator, and the SNR of each that was tried (dB, higher is better)."""

    model: "ir.Model"
    plan: Plan
    estimator: Estimator
    snr_db: Mapping[str, float]


def choose_estimator(
    model: "ir.Model",
    contract: Contract,
    observed: Mapping[str, Observation],
    candidates: Sequence[Estimator],
    probes: Samples,
) -> Choice:
    """Quantize a copy with each estimator; keep the one whose outputs on `probes` are nearest to the float model's."""
    reference = _answers(model, contract, probes)
    made: dict[Estimator, tuple[ir.Model, Plan]] = {}
    snr: dict[Estimator, float] = {}
    for estimator in candidates:
        made[estimator] = quantized_copy(model, {name: seen.range(estimator) for name, seen in observed.items()})
        answers = _answers(made[estimator][0], contract, probes)
        snr[estimator] = min(map(snr_db, reference, answers))
    best = max(candidates, key=lambda estimator: snr[estimator])  # the first among equals
    shown: dict[str, float] = {name: round(min(value, EXACT_DB), 2) for name, value in snr.items()}
    return Choice(*made[best], best, shown)


def quantized_copy(model: "ir.Model", ranges: Mapping[str, tuple[float, float]]) -> tuple["ir.Model", Plan]:
    """The int8 form of a model, which stays as it is."""
    copy = model.clone()
    plan = plan_int8(copy)
    insert_qdq(copy, plan, ranges)
    return copy, plan


def _answers(model: "ir.Model", contract: Contract, samples: Samples) -> list[NDArray[Any]]:
    """Every output over the samples, by the graph as written: on x86 onnxruntime's fused int8 kernels may saturate."""
    session = open_session(model, optimize=False)
    names = [info.name for info in contract.outputs]
    pieces = [session.run(names, batch) for batch in batches(contract, samples)]
    return [np.concatenate([piece[index] for piece in pieces]) for index in range(len(names))]
