"""How far the inner tensors of an artifact are from its original's, whatever runs them, by name."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.data import Samples
from edgewright.errors import BadInput
from edgewright.export.onnx.quantize.sensitivity import Noise, OpNoise, Sensitivity, added_share, culprit_of
from edgewright.export.verify import readings
from edgewright.progress import Progress
from edgewright.runtimes.read import Model
from edgewright.runtimes.read.model import Op
from edgewright.runtimes.runtime import Session, batch_of, call_inputs

WRAPPING = ("quantize", "dequantize")


def gathered(table: Model, running: Session, original: Session, samples: Samples, progress: Progress) -> Sensitivity:
    """Cumulative noise of every operator of `table` whose output the original has by name, in the table's order.

    Raises BadInput when no tensor is in both.
    """
    noises: dict[str, Noise] = {}
    size = batch_of(original.contract, 1)
    with progress.task("sensitivity", len(samples)) as advance:
        for start in range(0, len(samples) - size + 1, size):
            call = call_inputs(original.contract, samples.inputs, start, size)
            wanted = original.intermediates(call) | original.run(call)
            for name, array in (running.intermediates(call) | running.run(call)).items():
                _add(noises, name, array, wanted)
            advance(size)
    rows = [_row(op, noises) for op in table.ops if op.kind not in WRAPPING and _output(op) in noises]
    if not rows:
        raise BadInput("no inner tensor is in both files by name: give the clean float file that the other was made of")
    return Sensitivity(tuple(rows), culprit_of(rows), len(samples))


def _add(noises: dict[str, Noise], name: str, array: NDArray[Any], wanted: Mapping[str, NDArray[Any]]) -> None:
    reference = wanted.get(_original(name))
    if reference is None or reference.dtype.kind != "f" or reference.size != array.size:
        return
    nearest = min(readings(array, reference.shape), key=lambda each: float(np.sum((each - reference) ** 2)))
    noises.setdefault(_original(name), Noise()).add(reference, nearest)


def _row(op: Op, noises: Mapping[str, Noise]) -> OpNoise:
    noise = noises[_output(op)]
    inputs = [noises[_original(name)].share for name in op.inputs if _original(name) in noises]
    return OpNoise(
        op=op.op_type,
        node=op.name,
        tensor=_output(op),
        int8=op.compute_dtype == "int8",
        local_db=None,
        cumulative_db=round(noise.snr_db, 2),
        added=added_share(noise.share, inputs),
    )


def _output(op: Op) -> str:
    return _original(op.outputs[0])


def _original(name: str) -> str:
    """The float model's name of a tensor that the truth renamed."""
    return name.removesuffix("_raw").removesuffix("_quantized").removesuffix("_dequantized")
