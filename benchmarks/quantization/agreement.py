"""One int8 truth in every runtime: operator by operator, and end to end on trained networks."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from edgewright.benchmarks.quantization.metrics import Array, same_top1, snr_db
from edgewright.benchmarks.quantization.networks import RECIPES, Network, trained
from edgewright.benchmarks.quantization.op_by_op import op_by_op, summary
from edgewright.benchmarks.quantization.runners import ONNX_RUNNERS, TFLITE_RUNNERS
from edgewright.benchmarks.quantization.table import Bar, Row, Table, number
from edgewright.data import Samples

MOST_STEPS = 1
MOST_SPREAD_DB = 0.5
LEAST_TOP1 = 99.0
LEAST_WITHIN_A_STEP = 99.0
REFERENCE, XNNPACK = "onnxruntime as written", "LiteRT + XNNPACK"
CALLS: Mapping[str, int] = {"watch": 16, "studentnet": 16, "efficientnet": 4}
SAMPLES: Mapping[str, int] = {"watch": 1484, "studentnet": 2000, "efficientnet": 20}
"""Of the test part: how many for the op-by-op part, and end to end."""


def measure(out: Path, names: Sequence[str] = tuple(RECIPES)) -> list[Table]:
    networks = [trained(name, out) for name in names]
    return [each_op(networks), end_to_end(networks)]


def each_op(networks: Sequence[Network]) -> Table:
    """Bars: the largest distance in each runtime."""
    rows: list[Row] = []
    bars: list[Bar] = []
    for network in networks:
        samples = network.part("test").first(CALLS[network.name])
        differences = op_by_op(network.file("int8.onnx"), network.file("int8.tflite"), samples)
        rows += summary(network.name, differences)
        worst: dict[str, int] = {}
        for found in differences:
            worst[found.runtime] = max(worst.get(found.runtime, 0), int(found.steps.max(initial=0)))
        bars += [Bar(f"{network.name}, {name}: steps", most, MOST_STEPS, at_most=True) for name, most in worst.items()]
    return Table("Op by op on the reference's int8 codes", rows, bars)


def end_to_end(networks: Sequence[Network]) -> Table:
    """Each runtime's answers against float32 (SNR), against the reference (top-1), and within one step of it."""
    rows: list[Row] = []
    bars: list[Bar] = []
    for network in networks:
        samples = network.part("test").first(SAMPLES[network.name])
        found = compare(network, answers(network, samples), samples)
        rows += found.values()
        snrs = [number(row["SNR dB"]) for row in found.values()]
        bars.append(Bar(f"{network.name}: spread of SNR in dB", max(snrs) - min(snrs), MOST_SPREAD_DB, at_most=True))
        bars.append(
            Bar(f"{network.name}: same top-1 in %", min(number(row["top-1 %"]) for row in found.values()), LEAST_TOP1)
        )
        within = number(found[XNNPACK]["within a step %"])
        bars.append(Bar(f"{network.name}: XNNPACK within a step in %", within, LEAST_WITHIN_A_STEP))
    return Table("End to end", rows, bars)


def answers(network: Network, samples: Samples) -> dict[str, Array]:
    """The first output of the int8 files by runner."""
    files = {"int8.onnx": ONNX_RUNNERS, "int8.tflite": TFLITE_RUNNERS}
    return {
        name: next(iter(run(network.file(file), samples).values()))
        for file, runners in files.items()
        for name, run in runners.items()
    }


def compare(network: Network, found: Mapping[str, Array], samples: Samples) -> dict[str, Row]:
    """A row for each runner."""
    float32 = next(iter(ONNX_RUNNERS["onnxruntime x86"](network.file("float32.onnx"), samples).values()))
    step = output_step(network.file("int8.onnx"))
    reference = found[REFERENCE]
    rows: dict[str, Row] = {}
    for name, answer in found.items():
        away = np.rint(np.abs(answer - reference) / step)
        rows[name] = {"network": network.name, "runtime": name, "SNR dB": snr_db(float32, answer)}
        rows[name] |= {"top-1 %": 100 * same_top1(reference, answer), "max steps": float(away.max())}
        rows[name] |= {"equal %": 100 * float(np.mean(away == 0)), "within a step %": 100 * float(np.mean(away <= 1))}
    return rows


def output_step(path: Path) -> float:
    """The scale of the grid that the first output lies on."""
    import onnx

    graph = onnx.load(path).graph
    last = next(node for node in graph.node if graph.output[0].name in node.output)
    scale = next(tensor for tensor in graph.initializer if tensor.name == last.input[1])
    return float(onnx.numpy_helper.to_array(scale))
