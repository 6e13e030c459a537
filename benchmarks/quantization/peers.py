"""SNR of int8 against the float network on unseen samples: edgewright and its peers, calibrated on the same samples."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from edgewright.benchmarks.quantization.metrics import snr_db
from edgewright.benchmarks.quantization.networks import (
    EXAMPLES,
    RECIPES,
    SEEDED,
    Network,
    diverged,
    quantized_afresh,
    trained,
    write_data,
)  # fmt: skip
from edgewright.benchmarks.quantization.quantize_peers import Method, by_ai_edge_quantizer, by_onnxruntime
from edgewright.benchmarks.quantization.runners import ONNX_RUNNERS, TFLITE_RUNNERS
from edgewright.benchmarks.quantization.table import Bar, Cell, Row, Table, number
from edgewright.errors import BadInput

CALIBRATION, TEST = 128, 256
LEAST_MEDIAN_GAIN_DB = 3.0
OURS = ("onnx:int8", "tflite:int8")
PEERS = ("quantize_static MinMax", "ai-edge-quantizer")  # the others stand in the table as information
FURTHER: Sequence[Method] = ("Entropy", "Percentile")
LARGE_INPUT = 10_000
"""Elements of one sample from which the further ones, which keep every activation, are left out."""


def measure(out: Path, names: Sequence[str] = (*RECIPES, *SEEDED)) -> Table:
    rows = [row_of(name, out) for name in names]
    gains = [float("nan") if "refused" in row else gain_db(row) for row in rows]
    bars = [Bar(f"{row['network']}: dB above the better peer", gain, 0.0) for row, gain in zip(rows, gains)]
    bars.append(Bar("median dB above the better peer", statistics.median(gains), LEAST_MEDIAN_GAIN_DB))
    return Table(f"SNR in dB on unseen samples, {CALIBRATION} samples to calibrate", rows, bars)


def row_of(name: str, out: Path) -> Row:
    """The figures of one network, or why edgewright refuses its int8 file (its answers diverge)."""
    try:
        return compare(network(name, out))
    except BadInput as refusal:
        return {"network": name, "refused": diverged(refusal)}


def network(name: str, out: Path) -> Network:
    """A network whose data hold only the samples that all calibrate on, and those that none has seen."""
    folder = out / "peers" / name
    if name in RECIPES:
        origin = trained(name, out)
        calibration, test = origin.part("calibration").first(CALIBRATION), origin.part("test").first(TEST)
        data = write_data(folder / "data.npz", calibration, test)
        return quantized_afresh(name, str(origin.file("float32.onnx")), data, folder)
    factory = f"{EXAMPLES / 'seeded' / 'networks.py'}:{name}"
    return quantized_afresh(name, factory, EXAMPLES / "seeded" / f"{name}.npz", folder)


def compare(network: Network) -> dict[str, Cell]:
    """The SNR of each quantizer's file (dB)."""
    calibration, test = network.part("calibration"), network.part("test")
    source = network.file("float32.onnx")
    reference = next(iter(ONNX_RUNNERS["onnxruntime x86"](source, test).values()))

    def onnx_db(path: Path) -> float:
        return snr_db(reference, next(iter(ONNX_RUNNERS["onnxruntime as written"](path, test).values())))

    def tflite_db(path: Path) -> float:
        return snr_db(reference, next(iter(TFLITE_RUNNERS["LiteRT + XNNPACK"](path, test).values())))

    row: dict[str, Cell] = {"network": network.name, "samples": len(calibration)}
    row |= {"onnx:int8": onnx_db(network.file("int8.onnx")), "tflite:int8": tflite_db(network.file("int8.tflite"))}
    small = all(array[0].size < LARGE_INPUT for array in test.inputs.values())
    methods: Sequence[Method] = ("MinMax", *(FURTHER if small else ()))
    for method in methods:
        path = network.file(f"quantize_static_{method}.onnx")
        by_onnxruntime(source, path, calibration, method)
        row[f"quantize_static {method}"] = onnx_db(path)
    path = network.file("ai_edge_quantizer.tflite")
    by_ai_edge_quantizer(network.file("float32.tflite"), path, calibration)
    return row | {"ai-edge-quantizer": tflite_db(path)}


def gain_db(row: Row) -> float:
    """Our worse file over the better peer."""
    return min(number(row[name]) for name in OURS) - max(number(row[name]) for name in PEERS)
