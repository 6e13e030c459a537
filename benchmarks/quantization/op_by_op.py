"""Fed the same int8 codes, does every operator answer within one step in every runtime?"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from edgewright.benchmarks.quantization.codes import Codes, one_step_models, plain, reference_codes
from edgewright.benchmarks.quantization.metrics import Array, steps_apart
from edgewright.benchmarks.quantization.one_op import BUILTIN, INTERPRETERS, Call, alone, data_inputs, kind_of
from edgewright.benchmarks.quantization.runners import calls, ort_session
from edgewright.benchmarks.quantization.table import Row
from edgewright.data import Samples
from edgewright.runtimes.tflite_view import TfliteTensor, open_tflite

MOST_STEPS_OF_A_READING = 16.0
"""A layout of the reference's codes is taken for a tensor's when it is on average this near to what LiteRT computes."""


@dataclass(frozen=True)
class Difference:
    """Of one operator in one runtime, over all calls. `refused`: why the runtime does not run it."""

    runtime: str
    kind: str
    tensor: str
    steps: Array
    refused: str = ""


def op_by_op(onnx_file: Path, tflite_file: Path, samples: Samples) -> list[Difference]:
    """Each runtime against onnxruntime without optimization (for what only TFLite has: against LiteRT's kernels)."""
    codes = reference_codes(onnx_file, samples)
    return [*_onnx(onnx_file, codes), *_tflite(tflite_file, codes, samples)]


def summary(network: str, differences: Sequence[Difference]) -> list[Row]:
    """By runtime and kind of operator: how many, the largest distance, and how many outputs differ at all."""
    groups: dict[tuple[str, str], list[Difference]] = defaultdict(list)
    for difference in differences:
        groups[difference.runtime, difference.kind].append(difference)
    rows: list[Row] = []
    for (runtime, kind), members in groups.items():
        worst = max(members, key=lambda member: int(member.steps.max(initial=0)))
        steps = np.concatenate([member.steps.ravel() for member in members])
        row: dict[str, str | int | float | None] = {"network": network, "runtime": runtime, "op": kind}
        row |= {"ops": len(members), "max steps": int(steps.max(initial=0))}
        row |= {"differ %": 100 * float(np.mean(steps > 0)) if steps.size else None, "worst at": worst.tensor}
        refused = [member.refused for member in members if member.refused]
        rows.append(row | {"refused": refused[0] if refused else ""})
    return rows


def _onnx(path: Path, codes: Codes) -> Iterator[Difference]:
    for step in one_step_models(path, codes):
        session = ort_session(step.model, optimized=True)
        feeds = [{name: codes[name][call] for name in step.reads} for call in range(len(codes[step.gives]))]
        answers = np.stack([session.run(None, feed)[0] for feed in feeds])
        yield Difference("onnxruntime x86", step.kind, plain(step.gives), steps_apart(answers, codes[step.gives]))


def _tflite(path: Path, codes: Codes, samples: Samples) -> Iterator[Difference]:
    view = open_tflite(path)
    by_name = {plain(name): array for name, array in codes.items()}
    given = list(calls(view.contract, samples))
    values = {index: np.stack([call[name] for call in given]) for name, index in view.inputs.items()}
    for position, operator in enumerate(view.main.operators):
        kind, model = kind_of(operator), alone(path, view, position)
        feeds = list(zip(*(values[index] for index in data_inputs(view, operator)), strict=True))
        computed = _run(INTERPRETERS[BUILTIN](model), feeds)
        for index, array in zip(operator.outputs, computed, strict=True):
            tensor = view.main.tensors[index]
            values[index] = _reading(by_name.get(plain(tensor.name)), array, tensor)
        target = view.main.tensors[operator.outputs[0]]
        if target.dtype != "int8":
            continue
        for runtime, load in INTERPRETERS.items():
            yield _difference(runtime, kind, target.name, partial(load, model), feeds, values[operator.outputs[0]])


def _difference(
    runtime: str, kind: str, tensor: str, load: Callable[[], Call], feeds: Sequence[Sequence[Array]], wanted: Array
) -> Difference:
    try:
        answer = _run(load(), feeds)[0]
    except (RuntimeError, ValueError) as error:  # how the interpreters turn an operator down
        return Difference(runtime, kind, tensor, np.zeros(0, np.int64), str(error).strip().splitlines()[0])
    return Difference(runtime, kind, tensor, steps_apart(answer, wanted))


def _run(call: Call, feeds: Sequence[Sequence[Array]]) -> list[Array]:
    """The outputs, each stacked over the calls."""
    return [np.stack(answers) for answers in zip(*(call(feed) for feed in feeds), strict=True)]


def _reading(codes: Array | None, computed: Array, tensor: TfliteTensor) -> Array:
    """The reference's codes in the file's layout, as they stand or channels-last; else what LiteRT computed."""
    if codes is None or tensor.dtype != "int8" or codes.size != computed.size:
        return computed
    readings = [codes.reshape(computed.shape)]
    if codes.ndim > 3:
        readings.append(np.moveaxis(codes, 2, -1).reshape(computed.shape))
    nearest = min(readings, key=lambda reading: float(steps_apart(reading, computed).mean()))
    near = float(steps_apart(nearest, computed).mean()) <= MOST_STEPS_OF_A_READING
    return np.ascontiguousarray(nearest) if near else computed
