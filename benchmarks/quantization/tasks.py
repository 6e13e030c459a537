"""What int8 costs in the task: accuracy of trained networks in float32 and in int8, on test data read once."""

from collections.abc import Sequence
from pathlib import Path

from edgewright.benchmarks.quantization.metrics import Array, accuracy, same_top1, snr_db
from edgewright.benchmarks.quantization.networks import EXAMPLES, RECIPES, Network, trained
from edgewright.benchmarks.quantization.runners import ONNX_RUNNERS, TFLITE_RUNNERS
from edgewright.benchmarks.quantization.table import Bar, Row, Table, number
from edgewright.data import Samples, load_samples

MOST_DROP_POINTS = 0.3
LEAST_AGREEMENT = 97.0
PHOTOS, CROPS = (EXAMPLES / "efficientnet" / name for name in ("photos.npz", "crops.npz"))
FLOAT = ("float32.onnx", ONNX_RUNNERS["onnxruntime x86"])
INT8 = (("int8.onnx", ONNX_RUNNERS["onnxruntime x86"]), ("int8.tflite", TFLITE_RUNNERS["LiteRT + XNNPACK"]))


def measure(out: Path, names: Sequence[str] = tuple(RECIPES)) -> Table:
    """Each network on its test part; EfficientNet on the photos, and on crops of photos that calibrated nothing."""
    rows: list[Row] = []
    bars: list[Bar] = []
    for name in names:
        network = trained(name, out)
        is_photos = name == "efficientnet"
        most = 0.0 if is_photos else MOST_DROP_POINTS
        for row in compare(network, name, load_samples(str(PHOTOS)) if is_photos else network.part("test")):
            rows.append(row)
            bars.append(Bar(f"{name} {row['file']}: drop in points", number(row["drop"]), most, at_most=True))
        for row in compare(network, f"{name}, crops", load_samples(str(CROPS))) if is_photos else ():
            rows.append(row)
            bars.append(Bar(f"crops {row['file']}: same top-1 in %", number(row["same top-1 %"]), LEAST_AGREEMENT))
    return Table("Task metric of int8", rows, bars)


def compare(network: Network, label: str, samples: Samples) -> list[Row]:
    """A row for each int8 file against float32: accuracies and agreement in %, drop in points, SNR in dB."""
    file, run = FLOAT
    reference = scores(run(network.file(file), samples))
    before = None if samples.labels is None else 100 * accuracy(reference, samples.labels)
    rows: list[Row] = []
    for file, run in INT8:
        answer = scores(run(network.file(file), samples))
        after = None if samples.labels is None else 100 * accuracy(answer, samples.labels)
        drop = None if before is None or after is None else before - after
        agreement, snr = 100 * same_top1(reference, answer), snr_db(reference, answer)
        row: Row = {"network": label, "file": file, "samples": len(samples), "float32 %": before, "int8 %": after}
        rows.append(row | {"drop": drop, "same top-1 %": agreement, "SNR dB": snr})
    return rows


def scores(outputs: dict[str, Array]) -> Array:
    """The first output: class scores [n, classes]."""
    return next(iter(outputs.values()))
