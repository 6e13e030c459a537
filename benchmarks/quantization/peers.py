"""SNR of int8 against the float network on unseen samples: edgewright and its peers, calibrated on the same samples."""

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from edgewright.benchmarks.quantization import real
from edgewright.benchmarks.quantization.metrics import Array, snr_db
from edgewright.benchmarks.quantization.networks import (
    EXAMPLES,
    SEEDED,
    Network,
    diverged,
    quantized_afresh,
    write_data,
)  # fmt: skip
from edgewright.benchmarks.quantization.quantize_peers import Method, by_ai_edge_quantizer, by_onnxruntime, invalid
from edgewright.benchmarks.quantization.runners import ONNX_RUNNERS, TFLITE_RUNNERS, as_written
from edgewright.benchmarks.quantization.table import Bar, Row, Table, number
from edgewright.errors import BadInput

CALIBRATION, TEST = 128, 256
LEAST_MEDIAN_GAIN_DB = 3.0
REAL = ("watch", "studentnet", "efficientnet", "vit", "digits", "wakeword")
MIXED = ("vit:mixed", "pitch:mixed")
"""NAME:PRECISION of ours, against the peers' int8: not part of the median.

`pitch` is here only: it begins with filters of raw audio and a logarithm of their power, and no plain int8 file of it
is of any use (6.3 dB by ours, which is therefore refused; 5.8 dB by ai-edge-quantizer).
"""
OURS = ("ours .onnx", "ours .tflite")
PEERS = ("quantize_static MinMax", "ai-edge-quantizer")  # the others stand in the table as information
FURTHER: Sequence[Method] = ("Entropy", "Percentile")
LARGE_INPUT = 10_000
"""Elements of one sample from which the further ones, which keep every activation, are left out."""


def measure(out: Path, names: Sequence[str] = (*REAL, *MIXED, *SEEDED)) -> list[Table]:
    """The networks trained on real data carry the bar of the median; those with random weights only must not lose.

    Of the latter four fifths of the noise is the rounding of activations to 8 bits, which every quantizer pays
    (watch_cnn, student_net; of the trained digits and wakeword three fifths): better weights can win little there.
    """
    unknown = sorted(set(names) - {*REAL, *MIXED, *SEEDED})
    if unknown:
        raise BadInput(f"no network {', '.join(unknown)}; there are {', '.join((*REAL, *MIXED, *SEEDED))}")
    head = f"SNR in dB on unseen samples, at most {CALIBRATION} to calibrate"
    trained, seeded = ([name for name in names if (name in SEEDED) is of_seeded] for of_seeded in (False, True))
    tables = []
    if trained:
        rows = [row_of(name, out) for name in trained]
        gains = [gain_db(row) for row in rows if row["network"] not in MIXED]
        bars = [not_below(row) for row in rows]
        if gains:
            bars.append(Bar("median dB above the better peer", statistics.median(gains), LEAST_MEDIAN_GAIN_DB))
        tables.append(Table(f"{head}: trained networks", rows, bars))
    if seeded:
        rows = [row_of(name, out) for name in seeded]
        tables.append(Table(f"{head}: random weights", rows, [not_below(row) for row in rows]))
    return tables


def not_below(row: Row) -> Bar:
    return Bar(f"{row['network']}: dB above the better peer", gain_db(row), 0.0)


def row_of(name: str, out: Path) -> Row:
    """The figures of one network, or why edgewright refuses its file (its answers diverge)."""
    try:
        return {"network": name} | compare(*network(name, out))
    except BadInput as refusal:
        return {"network": name, "refused": diverged(refusal)}


def network(name: str, out: Path) -> tuple[Network, str]:
    """A network whose data hold only the samples that all calibrate on and those that none has seen; our precision."""
    base, _, precision = name.partition(":")
    folder = out / "peers" / name.replace(":", "-")
    if base in SEEDED:
        factory = f"{EXAMPLES / 'seeded' / 'networks.py'}:{base}"
        return quantized_afresh(name, factory, EXAMPLES / "seeded" / f"{base}.npz", folder), "int8"
    samples = real.samples(base)
    calibration, test = samples.part("calibration").first(CALIBRATION), samples.part("test").first(TEST)
    data = write_data(folder / "data.npz", calibration, test)
    precision = precision or "int8"
    return quantized_afresh(name, str(real.float_file(base, out)), data, folder, precision), precision


def compare(network: Network, precision: str) -> Row:
    """The SNR of each quantizer's file (dB); of several outputs the worst."""
    calibration, test = network.part("calibration"), network.part("test")
    source = network.file("float32.onnx")
    reference = ONNX_RUNNERS["onnxruntime x86"](source, test)

    def onnx_db(path: Path) -> float:
        return least_db(reference.values(), as_written(path, test, like=source).values())

    def tflite_db(path: Path) -> float:
        return least_db(reference.values(), TFLITE_RUNNERS["LiteRT + XNNPACK"](path, test).values())

    ours = [onnx_db(network.file(f"{precision}.onnx")), tflite_db(network.file(f"{precision}.tflite"))]
    row: Row = {"samples": len(calibration)} | dict(zip(OURS, ours))
    small = all(array[0].size < LARGE_INPUT for array in test.inputs.values())
    methods: Sequence[Method] = ("MinMax", *(FURTHER if small else ()))
    for method in methods:
        path = network.file(f"quantize_static_{method}.onnx")
        by_onnxruntime(source, path, calibration, method)
        row[f"quantize_static {method}"] = invalid(path) or onnx_db(path)
    path = network.file("ai_edge_quantizer.tflite")
    by_ai_edge_quantizer(network.file("float32.tflite"), path, calibration)
    return row | {"ai-edge-quantizer": tflite_db(path)}


def least_db(reference: Iterable[Array], answers: Iterable[Array]) -> float:
    return min(snr_db(wanted, given) for wanted, given in zip(reference, answers, strict=True))


def gain_db(row: Row) -> float:
    """Our worse file over the better peer that made a valid one; where ours is refused, all is lost."""
    if "refused" in row:
        return float("-inf")
    peers = [number(cell) for name in PEERS if not isinstance(cell := row[name], str)]
    return min(number(row[name]) for name in OURS) - max(peers)
