"""The int8 package in the evaluator against onnxruntime, which computes the same QDQ graph just as it is written.

End to end, and operator by operator: each gets what onnxruntime computed before it, so that no difference adds up.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from edgewright.benchmarks.quantization.metrics import Array, same_top1, snr_db
from edgewright.benchmarks.quantization.networks import Network, trained
from edgewright.benchmarks.quantization.runners import calls, ort_session
from edgewright.benchmarks.quantization.table import Bar, Row, Table
from edgewright.runtimes.artifact import artifact_at
from edgewright.runtimes.coreml_contract import names_in_file
from edgewright.runtimes.mil.interpreter import Machine
from edgewright.runtimes.mil.session import MilSession
from edgewright.runtimes.ort import OnnxRuntime

EXPORTER = "edgewright.export.coreml"
"""Found by name: what measures does not depend on what it measures."""

SAMPLES: Mapping[str, int] = {"watch": 1484, "studentnet": 2000}
"""Of the test part. Where a sum lies within its own rounding error of half a step, two orders of summation part: one
value in 5 · 10⁶ of StudentNet, which then moves a few outputs of that sample."""
COMPUTE: Mapping[str, type[np.floating[Any]]] = {"float32": np.float32, "float16": np.float16}
LIKE_FOR_LIKE = "float32"
MOST_STEPS, LEAST_SNR_DB = 1, 60.0


@dataclass
class Found:
    """Answers of both over all calls; by tensor, how many steps of its scale the operator that gives it is away at
    most; how many values that were, and how many of them differ at all."""

    theirs: list[Array] = field(default_factory=list)
    ours: list[Array] = field(default_factory=list)
    steps: dict[str, float] = field(default_factory=dict)
    values: int = 0
    differ: int = 0


def measure(out: Path, names: Sequence[str] = tuple(SAMPLES)) -> Table:
    """Bars for float32 arithmetic around the int8 tensors, which is the graph's own; float16 is for the record."""
    rows: list[Row] = []
    bars: list[Bar] = []
    for name in names:
        network = trained(name, out)
        scales = scales_of(network.file("int8.onnx"))
        for compute in COMPUTE:
            found = compared(network, compute, scales)
            row = summary(network, compute, found, scales)
            rows.append(row)
            if compute == LIKE_FOR_LIKE:
                bars += judged(name, row)
    return Table("int8 package in the evaluator against onnxruntime, unoptimized", rows, bars)


def judged(name: str, row: Row) -> list[Bar]:
    steps, each, snr = (float(str(row[key])) for key in ("max steps", "op by op: max steps", "SNR dB"))
    return [
        Bar(f"{name}: steps", steps, MOST_STEPS, at_most=True),
        Bar(f"{name}: steps of each operator", each, MOST_STEPS, at_most=True),
        Bar(f"{name}: SNR in dB", snr, LEAST_SNR_DB),
    ]


def summary(network: Network, compute: str, found: Found, scales: Mapping[str, float]) -> Row:
    theirs, ours = np.concatenate(found.theirs), np.concatenate(found.ours)
    away = np.rint(np.abs(ours - theirs) / scales[output_of(network.file("int8.onnx"))])
    return {
        "network": network.name,
        "compute": compute,
        "samples": len(theirs),
        "SNR dB": snr_db(theirs, ours),
        "equal %": 100 * float(np.mean(away == 0)),
        "max steps": float(away.max()),
        "top-1 %": 100 * same_top1(theirs, ours),
        "op by op: max steps": max(found.steps.values()),
        "op by op: differ in 10⁶": 1e6 * found.differ / found.values,
        "first at": next((name for name, steps in found.steps.items() if steps), ""),
    }


def compared(network: Network, compute: str, scales: Mapping[str, float]) -> Found:
    package = network.file(f"int8.{compute}.mlpackage")
    options = import_module(f"{EXPORTER}.options").CoremlInt8Options(compute=compute)
    import_module(f"{EXPORTER}.convert").convert(network.file("int8.onnx"), package, options, COMPUTE[compute])
    session, found = MilSession(package), Found(steps=dict.fromkeys(scales, 0.0))
    in_file = names_in_file(session.program.metadata)
    for feed, truth in recorded(network, list(scales)):
        given = {in_file.get(name, name): array for name, array in feed.items()}
        taught = {in_file.get(name, name): array for name, array in truth.items()}
        answer = next(iter(Machine(session.program, "float16-storage").call(given).outputs.values()))
        found.ours.append(np.asarray(answer))
        found.theirs.append(truth[output_of(network.file("int8.onnx"))])
        seen: dict[str, Array] = {}

        def see(name: str, result: Array) -> Array | None:
            seen[name] = result  # noqa: B023 (called within this turn)
            return taught.get(name)  # noqa: B023

        Machine(session.program, "float16-storage", see).call(given)
        for name, scale in scales.items():
            away = np.rint(np.abs(seen[in_file.get(name, name)] - truth[name]) / scale)
            found.steps[name] = max(found.steps[name], float(away.max(initial=0)))
            found.values, found.differ = found.values + away.size, found.differ + int(np.count_nonzero(away))
    return found


def recorded(network: Network, names: Sequence[str]) -> Iterator[tuple[dict[str, Array], dict[str, Array]]]:
    """Call by call: the inputs as a Core ML file takes them, and what onnxruntime computes under these names."""
    path = network.file("int8.onnx")
    model = onnx.load(path)
    known = {output.name for output in model.graph.output}
    new = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names]
    model.graph.output.extend(value for value in new if value.name not in known)
    session = ort_session(model.SerializeToString(), optimized=False)
    contract = OnnxRuntime().load(artifact_at(path)).contract
    for feed in calls(contract, network.part("test").first(SAMPLES[network.name])):
        yield feed, dict(zip(names, session.run(list(names), feed), strict=True))


def scales_of(path: Path) -> dict[str, float]:
    """The scale of each activation that comes from codes, by the name of the real tensor."""
    graph = onnx.load(path).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    return {
        node.output[0]: float(numpy_helper.to_array(constants[node.input[1]]))
        for node in graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] not in constants
    }


def output_of(path: Path) -> str:
    return str(onnx.load(path).graph.output[0].name)
