"""Which range estimator suits this model: measured, since no rule holds for all networks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgewright.data import Samples
from edgewright.export.onnx.quantize.calibrate import batches, open_session
from edgewright.export.onnx.quantize.observation import Estimator, Observation
from edgewright.export.onnx.quantize.plan import Plan, plan_int8
from edgewright.export.onnx.quantize.qdq import Masters, Ranges, insert_qdq
from edgewright.export.verify import snr_db
from edgewright.runtimes.contract import Contract

if TYPE_CHECKING:
    import onnx_ir as ir

EXACT_DB = 200.0
"""What stands on record for equal answers: JSON has no infinity."""


@dataclass(frozen=True)
class Quantized:
    """An int8 model, the plan it follows, and the float values behind its integer constants."""

    model: "ir.Model"
    plan: Plan
    masters: Masters


@dataclass(frozen=True)
class Choice:
    """What the best estimator gave, and the SNR of each that was tried (dB, higher is better)."""

    quantized: Quantized
    estimator: Estimator
    snr_db: Mapping[str, float]


def choose_estimator(
    model: "ir.Model",
    contract: Contract,
    observed: Mapping[str, Observation],
    candidates: Sequence[Estimator],
    probes: Samples,
    keep_float: Mapping[str, str] = MappingProxyType({}),
) -> Choice:
    """Quantize a copy with each estimator; keep the one whose outputs on `probes` are nearest to the float model's."""
    reference = answers(model, contract, probes)
    made: dict[Estimator, Quantized] = {}
    snr: dict[Estimator, float] = {}
    for estimator in candidates:
        ranges = {name: seen.range(estimator) for name, seen in observed.items()}
        made[estimator] = quantized_copy(model, ranges, keep_float)
        snr[estimator] = min(map(snr_db, reference, answers(made[estimator].model, contract, probes)))
    best = max(candidates, key=lambda estimator: snr[estimator])  # the first among equals
    shown: dict[str, float] = {name: round(min(value, EXACT_DB), 2) for name, value in snr.items()}
    return Choice(made[best], best, shown)


def quantized_copy(
    model: "ir.Model", ranges: Ranges, keep_float: Mapping[str, str] = MappingProxyType({})
) -> Quantized:
    """The int8 form of a model, which stays as it is."""
    copy = model.clone()
    plan = plan_int8(copy, keep_float)
    return Quantized(copy, plan, insert_qdq(copy, plan, ranges))


def answers(model: "ir.Model", contract: Contract, samples: Samples) -> list[NDArray[Any]]:
    """Every output over the samples, by the graph as written: on x86 onnxruntime's fused int8 kernels may saturate."""
    session = open_session(model, optimize=False)
    names = [info.name for info in contract.outputs]
    pieces = [session.run(names, batch) for batch in batches(contract, samples)]
    return [np.concatenate([piece[index] for piece in pieces]) for index in range(len(names))]
