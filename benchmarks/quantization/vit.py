"""A trained vision transformer under an accuracy budget: what `mixed` reaches, and what it keeps in float."""

from pathlib import Path
from typing import Any

from edgewright.benchmarks.quantization.metrics import accuracy, same_top1, snr_db
from edgewright.benchmarks.quantization.networks import EXAMPLES, convert, diverged, edgewright
from edgewright.benchmarks.quantization.runners import ONNX_RUNNERS, TFLITE_RUNNERS
from edgewright.benchmarks.quantization.table import Bar, Row, Table, number
from edgewright.data import Samples, load_samples
from edgewright.errors import BadInput

LEAST_SNR_DB = 25.0
MOST_DROP_POINTS = 1.0
TEST = 2000


def measure(out: Path) -> list[Table]:
    folder, recipe = out / "vit", EXAMPLES / "vit" / "edgewright.toml"
    manifest = edgewright(["build", "--recipe", str(recipe), "--no-bench", "--out", str(folder)])
    data = EXAMPLES / "studentnet" / "fashion.npz"
    test = load_samples(str(data)).part("test").first(TEST)
    rows: list[Row] = [compare(folder, file, test) for file in ("mixed.onnx", "mixed.tflite")]
    bars = [Bar(f"{row['file']}: SNR in dB", number(row["SNR dB"]), LEAST_SNR_DB) for row in rows]
    bars += [Bar(f"{row['file']}: drop in points", number(row["drop"]), MOST_DROP_POINTS, at_most=True) for row in rows]
    try:
        convert(str(folder / "float32.onnx"), folder / "int8.onnx", "int8", data)
        rows.append(compare(folder, "int8.onnx", test))
    except BadInput as refusal:
        rows.append({"file": "int8.onnx", "refused": diverged(refusal)})
    return [Table("A small vision transformer, budget of 1 point", rows, bars), float_operators(manifest)]


def compare(folder: Path, file: str, test: Samples) -> Row:
    """Drop in points, agreement in % and SNR in dB against float32."""
    assert test.labels is not None
    run = ONNX_RUNNERS["onnxruntime x86"] if file.endswith(".onnx") else TFLITE_RUNNERS["LiteRT + XNNPACK"]
    reference, answer = (
        next(iter(outputs.values()))
        for outputs in (ONNX_RUNNERS["onnxruntime x86"](folder / "float32.onnx", test), run(folder / file, test))
    )
    drop = 100 * (accuracy(reference, test.labels) - accuracy(answer, test.labels))
    agreement, snr = 100 * same_top1(reference, answer), snr_db(reference, answer)
    return {"file": file, "drop": drop, "same top-1 %": agreement, "SNR dB": snr}


def float_operators(manifest: dict[str, Any]) -> Table:
    """What onnx:mixed keeps in float, and why; a bar that there is such a list."""
    notes = next(row["notes"] for row in manifest["artifacts"] if row["name"] == "onnx:mixed")
    rows: list[Row] = [{name: str(cell) for name, cell in row.items()} for row in notes["float_ops"]]
    return Table("Its float operators", rows, [Bar("float operators listed", len(rows), 1)])
