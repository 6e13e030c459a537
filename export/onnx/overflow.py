"""Which operators must stay float32 in a float16 program: what their tensors reach on real data.

float16 ends at 65504. An operator is kept whose tensors, or sums inside it, come near that on calibration samples, and
one that a float16 program, simulated, answers wrongly.
"""

from collections.abc import Collection, Mapping
from math import ceil, prod
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from edgewright.data import Samples
from edgewright.devices.spec import Precision
from edgewright.errors import BadModel
from edgewright.export.onnx.graph import integers, shape_of
from edgewright.export.onnx.half_simulation import rounded_copy
from edgewright.export.onnx.quantize.calibrate import batches, open_session
from edgewright.export.onnx.quantize.quantized import answers
from edgewright.export.onnx.quantize.truth import split
from edgewright.export.steps import Job
from edgewright.export.verify import LIMITS, snr_db
from edgewright.runtimes.contract import Contract

if TYPE_CHECKING:
    import onnx_ir as ir

LARGEST = float(np.finfo(np.float16).max)  # 65504
HEADROOM = 2.0
"""How much larger than on the samples a value may become later."""
MOST_SAMPLES = 32
PROBES = 8
ROUNDS = 12
WORST_SHARE = 0.1  # of the float16 operators, that a round moves to float32
SQUARING = ("LayerNormalization", "RMSNormalization", "InstanceNormalization", "GroupNormalization", "LpNormalization")
AVERAGING = ("ReduceMean", "GlobalAveragePool", "AveragePool")
EXACT_DB = 200.0  # stands for an infinite SNR, and its negative for an answer that is not finite
ROUNDED_DB = 70.0  # about the SNR of a tensor once rounded to float16: no operator loses by coming down to that


def float32_ops(
    model: "ir.Model", contract: Contract, job: Job, known: Mapping[str, str] = MappingProxyType({})
) -> dict[str, str]:
    """Names of the nodes to keep in float32 beyond those `known`, with the value that they reach or the dB they lose.

    Measured on `job.calibration`; without it nothing is found. Raises BadModel when no operator could be float16.
    """
    if job.calibration is None or not len(job.calibration):
        return {}
    found = {name: why for name, why in overflowing_ops(model, contract, job).items() if name not in known}
    probes = split(job, MOST_SAMPLES)[1].first(PROBES)
    wanted = answers(model, contract, probes)
    if not all(np.isfinite(each).all() for each in wanted):
        return found
    for _ in range(ROUNDS):
        trial = rounded_copy(model, known.keys() | found.keys())
        reached = min(map(snr_db, wanted, answers(trial, contract, probes)))
        if reached >= LIMITS[Precision.FLOAT16].snr_db:
            break
        worst = _worst(model, trial, known.keys() | found.keys(), contract, probes)
        if not worst:
            break
        found |= worst
    if found and all(node.name in found or node.name in known for node in model.graph):
        raise BadModel("no operator of it could compute in float16; keep float32")
    return found


def overflowing_ops(model: "ir.Model", contract: Contract, job: Job) -> dict[str, str]:
    """The part of `float32_ops` that goes by range alone: what a program with int8 activations needs.

    There rounding to float16 moves codes by a step wherever it falls on the border of two, which no operator is to
    blame for: the SNR would send nearly all of them to float32.
    """
    if job.calibration is None or not len(job.calibration):
        return {}
    return beyond_range(model, peaks(model, contract, split(job, MOST_SAMPLES)[0]))


def peaks(model: "ir.Model", contract: Contract, samples: Samples) -> dict[str, float]:
    """The largest finite magnitude of every float tensor over the samples."""
    names = _float_tensors(model)
    session = open_session(model, names, optimize=False)
    seen = dict.fromkeys([*names, *(info.name for info in contract.inputs)], 0.0)
    for batch in batches(contract, samples):
        for name, array in (batch | dict(zip(names, session.run(names, batch), strict=True))).items():
            finite = np.abs(array[np.isfinite(array)]) if array.dtype.kind == "f" else np.zeros(0)
            seen[name] = max(seen[name], float(finite.max(initial=0)))
    return seen


def beyond_range(model: "ir.Model", reached: Mapping[str, float]) -> dict[str, str]:
    """Names of the nodes that take, give or sum up values near the end of float16, with the value."""
    reasons = {}
    for node in model.graph:
        most, what = max(_magnitudes(node, reached), default=(0.0, ""))
        if most * HEADROOM > LARGEST:
            reasons[str(node.name)] = f"{what} {most:.3g}; float16 ends at {LARGEST:.0f}"
    return reasons


def _magnitudes(node: "ir.Node", reached: Mapping[str, float]) -> list[tuple[float, str]]:
    values = [value for value in (*node.inputs, *node.outputs) if value is not None and value.name in reached]
    found = [(reached[str(value.name)], f"{value.name} reaches") for value in values]
    x, y = node.inputs[0] if node.inputs else None, node.outputs[0]
    if node.op_type in SQUARING and x is not None:
        found.append((reached.get(str(x.name), 0.0) ** 2, f"it squares {x.name} to"))
    if node.op_type == "ReduceL2":
        found.append((reached.get(str(y.name), 0.0) ** 2, "its sum of squares reaches"))
    if node.op_type in AVERAGING:
        found.append((reached.get(str(y.name), 0.0) * _averaged(node), "its sum reaches"))
    return found


def _averaged(node: "ir.Node") -> int:
    """How many values an averaging operator adds up for each that it gives."""
    if node.op_type == "AveragePool":
        return prod(integers(node, "kernel_shape", (1,)))
    return prod(shape_of(node.inputs[0]) or (1,)) // max(1, prod(shape_of(node.outputs[0]) or (1,)))


def _worst(
    model: "ir.Model", trial: "ir.Model", kept: Collection[str], contract: Contract, probes: Samples
) -> dict[str, str]:
    """The nodes at which the float16 program loses most, by the SNR of what they give against what they take.

    With each go the nodes that feed it: where large values cancel, rounding these is what costs.
    """
    quality = _quality(model, trial, contract, probes)
    lost: dict[str, float] = {}
    for node in model.graph:
        given = [quality[str(value.name)] for value in node.outputs if value.name in quality]
        taken = [quality[str(value.name)] for value in node.inputs if value is not None and value.name in quality]
        if node.name not in kept and given and min(given) < ROUNDED_DB:
            lost[str(node.name)] = min([ROUNDED_DB, *taken]) - min(given)
    ranked = sorted(lost, key=lambda name: -lost[name])[: ceil(len(lost) * WORST_SHARE)]
    reasons = {name: f"float16 loses {lost[name]:.0f} dB in it" for name in ranked}
    for node in [node for node in model.graph if node.name in ranked]:
        for value in node.inputs:
            above = None if value is None else value.producer()
            if above is not None and above.name not in kept:
                reasons.setdefault(
                    str(above.name), f"float16 loses {lost[str(node.name)]:.0f} dB in its reader {node.name}"
                )
    return reasons


def _quality(model: "ir.Model", trial: "ir.Model", contract: Contract, probes: Samples) -> dict[str, float]:
    """SNR in dB of every float tensor of the trial on the first probes."""
    names = _float_tensors(model)
    first = next(iter(batches(contract, probes)))
    wanted, given = (open_session(each, names, optimize=False).run(names, first) for each in (model, trial))
    quality = {}
    for name, single, half in zip(names, wanted, given, strict=True):
        usual = np.isfinite(single)  # infinity may be meant, as in a mask
        quality[name] = float(np.clip(snr_db(single[usual], half[usual]), -EXACT_DB, EXACT_DB))
    return quality


def _float_tensors(model: "ir.Model") -> list[str]:
    import onnx_ir as ir

    return [str(o.name) for node in model.graph for o in node.outputs if o.name and o.dtype == ir.DataType.FLOAT]
