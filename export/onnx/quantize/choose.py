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
from edgewright.runtimes.contract import Contract

if TYPE_CHECKING:
    import onnx_ir as ir


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
        snr[estimator] = snr_db(reference, _answers(made[estimator][0], contract, probes))
    best = max(candidates, key=lambda estimator: snr[estimator])  # the first among equals
    return Choice(*made[best], best, {name: round(value, 2) for name, value in snr.items()})


def quantized_copy(model: "ir.Model", ranges: Mapping[str, tuple[float, float]]) -> tuple["ir.Model", Plan]:
    """The int8 form of a model, which stays as it is."""
    copy = model.clone()
    plan = plan_int8(copy)
    insert_qdq(copy, plan, ranges)
    return copy, plan


def snr_db(reference: Sequence[NDArray[Any]], answers: Sequence[NDArray[Any]]) -> float:
    """10·log₁₀(signal energy / error energy) of the worst output, at most 200."""
    ratios = []
    for wanted, given in zip(reference, answers, strict=True):
        signal = float(np.sum(np.square(wanted, dtype=np.float64)))
        noise = float(np.sum(np.square(np.subtract(wanted, given, dtype=np.float64))))
        ratios.append(10 * np.log10(max(signal, 1e-30) / max(noise, 1e-30)))
    return float(np.clip(min(ratios), -200, 200))


def _answers(model: "ir.Model", contract: Contract, samples: Samples) -> list[NDArray[Any]]:
    """Every output over the samples, by the graph as written: on x86 onnxruntime's fused int8 kernels may saturate."""
    session = open_session(model, optimize=False)
    names = [info.name for info in contract.outputs]
    pieces = [session.run(names, batch) for batch in batches(contract, samples)]
    return [np.concatenate([piece[index] for piece in pieces]) for index in range(len(names))]
