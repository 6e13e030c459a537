"""An int8 copy of a float model, and the judge of such copies: how near its answers are to the float model's."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgewright.data import Samples
from edgewright.export.onnx.counted import before_counting
from edgewright.export.onnx.quantize.calibrate import batches, open_session
from edgewright.export.onnx.quantize.plan import Plan, plan_int8
from edgewright.export.onnx.quantize.qdq import Masters, Ranges, insert_qdq
from edgewright.export.verify import snr_db
from edgewright.runtimes.contract import Contract

if TYPE_CHECKING:
    import onnx_ir as ir

EXACT_DB = 200.0
"""What stands on record for equal answers."""


@dataclass(frozen=True)
class Quantized:
    """An int8 model, the plan it follows, and the float values behind its integer constants."""

    model: "ir.Model"
    plan: Plan
    masters: Masters


@dataclass(frozen=True)
class Judge:
    """Measures models against the float model's answers on probes."""

    contract: Contract
    probes: Samples
    reference: "list[NDArray[Any]]"

    def snr_db(self, model: "ir.Model") -> float:
        """Of the worst output."""
        return min(map(snr_db, self.reference, answers(model, self.contract, self.probes)))


def judge_of(model: "ir.Model", contract: Contract, probes: Samples) -> Judge:
    return Judge(contract, probes, answers(model, contract, probes))


def shown_db(value: float) -> float:
    """JSON has no infinity."""
    return round(min(max(value, -EXACT_DB), EXACT_DB), 2)


def quantized_copy(
    model: "ir.Model", ranges: Ranges, keep_float: Mapping[str, str] = MappingProxyType({})
) -> Quantized:
    """The int8 form of a model, which stays as it is."""
    copy = model.clone()
    plan = plan_int8(copy, keep_float)
    return Quantized(copy, plan, insert_qdq(copy, plan, ranges))


def answers(model: "ir.Model", contract: Contract, samples: Samples) -> list[NDArray[Any]]:
    """Every output over the samples, by the graph as written: on x86 onnxruntime's fused int8 kernels may saturate."""
    model, contract = before_counting(model, contract)
    session = open_session(model, optimize=False)
    inputs, outputs = ([info.name for info in infos] for infos in (contract.inputs, contract.outputs))
    pieces: list[dict[str, NDArray[Any]]] = []
    for batch in batches(contract, samples):
        given = session.run(outputs, dict(zip(inputs, contract.to_file(batch), strict=True)))
        pieces.append(contract.from_file(given))
    return [np.concatenate([np.atleast_1d(piece[name]) for piece in pieces]) for name in outputs]
