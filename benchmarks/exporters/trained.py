"""Our files of trained networks: what float16 and int8 keep of the float network, on test data, in every runtime."""

from collections.abc import Sequence
from pathlib import Path

from edgewright.benchmarks.exporters.answers import BROAD
from edgewright.benchmarks.quantization.metrics import snr_db
from edgewright.benchmarks.quantization.networks import Network, convert, trained
from edgewright.benchmarks.quantization.runners import ONNX_RUNNERS, TFLITE_RUNNERS
from edgewright.benchmarks.quantization.table import Bar, Row, Table
from edgewright.data import Samples

NETWORKS = ("watch", "studentnet")
"""Of the examples; `benchmarks.quantization` has more of int8."""

LEAST_DB = {"float16": 40.0, "int8": 20.0}
TEST = 64


def measure(out: Path, names: Sequence[str] = NETWORKS) -> Table:
    """Bars: the worst of the runtimes."""
    rows: list[Row] = []
    bars: list[Bar] = []
    for network in (trained(name, out) for name in names):
        convert(str(network.file("float32.onnx")), network.file("float16.tflite"), "float16", network.data)
        samples = network.part("test").first(TEST)
        for precision, least in LEAST_DB.items():
            found = {runtime: snr_of(network, precision, runtime, samples) for runtime in BROAD}
            rows.append({"network": network.name, "precision": precision, **found})
            bars.append(Bar(f"{network.name} {precision}, trained: SNR in dB", min(found.values()), least))
    return Table(f"Trained networks: SNR in dB on {TEST} test samples", rows, bars)


def snr_of(network: Network, precision: str, runtime: str, samples: Samples) -> float:
    """Of the first output, against float32 in ONNX Runtime."""
    reference = ONNX_RUNNERS["onnxruntime x86"](network.file("float32.onnx"), samples)
    answer = TFLITE_RUNNERS[runtime](network.file(f"{precision}.tflite"), samples)
    name = next(iter(reference))
    return snr_db(reference[name], answer[name])
