"""StudentNet on Fashion-MNIST with shared weights: accuracy, and bytes in each format against float16."""

import shutil
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from edgewright.benchmarks.compress.resume import remembered
from edgewright.benchmarks.coreml.size import package_bytes
from edgewright.benchmarks.quantization.networks import EXAMPLES
from edgewright.benchmarks.quantization.real import samples
from edgewright.benchmarks.quantization.table import Bar, Row, Table
from edgewright.compress.cluster import Cluster, cluster_weights
from edgewright.compress.passes import Given
from edgewright.compress.training import Training, accuracy_of, train_classifier
from edgewright.data import Samples
from edgewright.runtimes.artifact import artifact_at
from edgewright.runtimes.module.factory import find, make
from edgewright.runtimes.module.preprocess import Preprocess

if TYPE_CHECKING:
    from torch import Tensor, nn

SEEDS = (0, 1, 2)
FACTORY = EXAMPLES / "studentnet/studentnet.py"
PIXELS = Preprocess(scale=1 / 255, mean=(0.2190,), std=(0.3318,))
TRAINING = Training(epochs=6, batch=128, learning_rate=6e-3)
TUNING = Training(epochs=1, batch=128, learning_rate=3e-4, weight_decay=0.0)
LIMITS = {8: (0.1, 1.8), 6: (0.3, 2.3), 4: (1.0, 3.2)}
"""Bits → points of accuracy lost at most, and the least ratio of float16 to clustered bytes in Core ML."""
FILES = {
    "coreml": ("coreml-float16", "coreml-palettized", ".mlpackage"),
    "onnx": ("float16", "onnx-palettized", ".onnx"),
}
"""Format → the steps from float32 to float16 and to tables, and the suffix."""


def measure(out: Path, seeds: Sequence[int] = SEEDS) -> Table:
    """Rows: bits, accuracy before and after fine-tuning, bytes; means over seeds, of which each is kept when done."""
    runs = [remembered(out, f"clustering-seed={seed}", partial(_unit, out, seed)) for seed in seeds]
    rows, bars = [], []
    for bits, (most_points, least_ratio) in LIMITS.items():
        figures = {name: fmean(run[str(bits)][name] for run in runs) for name in runs[0][str(bits)]}
        lost = 100 * (fmean(run["accuracy"] for run in runs) - figures["accuracy"])
        rows.append(_row(bits, figures, lost))
        bars += [
            Bar(f"StudentNet, {bits} bits: points lost", lost, most_points, at_most=True),
            Bar(f"StudentNet, {bits} bits: float16 / clustered, Core ML", figures["coreml_ratio"], least_ratio),
        ]
    return Table(f"Weight clustering: StudentNet, Fashion-MNIST, means of {len(runs)} seed(s)", rows, bars)


def _row(bits: int, figures: Mapping[str, float], lost: float) -> Row:
    return {
        "bits": bits,
        "accuracy %, clustered": 100 * figures["clustered_accuracy"],
        "accuracy %, tuned": 100 * figures["accuracy"],
        "points lost": lost,
        "Core ML bytes": round(figures["coreml_bytes"]),
        "× float16": figures["coreml_ratio"],
        "ONNX bytes": round(figures["onnx_bytes"]),
        "× float16, ONNX": figures["onnx_ratio"],
        "TFLite float16 bytes": round(figures["tflite_bytes"]),
        "TFLite, deflated": round(figures["tflite_zlib_bytes"]),
        "index bytes": round(figures["index_bytes"]),
        "entropy": round(figures["entropy_bytes"]),
        "Huffman": round(figures["huffman_bytes"]),
        "zlib": round(figures["zlib_bytes"]),
    }


def _unit(out: Path, seed: int) -> dict[str, Any]:
    """One trained network, clustered to each width, as files."""
    raw = samples("studentnet")
    data = replace(raw, inputs={name: PIXELS.applied(array) for name, array in raw.inputs.items()})
    module, examples = _trained(data, out, seed)
    result: dict[str, Any] = {"accuracy": accuracy_of(module, data.part("test"))}
    for bits in LIMITS:
        result[str(bits)] = _clustered(module, examples, data, bits, out / "clustering" / f"seed={seed}-bits={bits}")
    return result


def _trained(data: Samples, out: Path, seed: int) -> "tuple[nn.Module, dict[str, Tensor]]":
    """Without a teacher, by the settings of the example's recipe; goes on where a killed run stopped."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        product = make(find(f"{FACTORY}:fashion_mnist"))
    parts = (data.part("train"), data.part("validation"))
    train_classifier(product.module, *parts, replace(TRAINING, seed=seed), checkpoints=out / "clustering")
    assert product.example_inputs is not None
    return product.module, product.example_inputs


def _clustered(
    module: "nn.Module", examples: "dict[str, Tensor]", data: Samples, bits: int, folder: Path
) -> dict[str, float]:
    """Accuracies on the test part, and bytes of the files."""
    config = Cluster(bits=bits)
    parts = (data.part("train"), data.part("validation"))
    plain, _ = cluster_weights(module, config, Given(examples, *parts))
    tuned, _ = cluster_weights(module, config, Given(examples, *parts, TUNING))
    test = data.part("test")
    accuracies = {"clustered_accuracy": accuracy_of(plain, test), "accuracy": accuracy_of(tuned, test)}
    return accuracies | _files(tuned, examples, folder)


def _files(module: "nn.Module", examples: "dict[str, Tensor]", folder: Path) -> dict[str, float]:
    """Bytes of float16 and clustered files, and of the indices in the ONNX one, as they are and coded."""
    folder.mkdir(parents=True, exist_ok=True)
    source = _captured(module, examples, folder / "float32.onnx")
    found: dict[str, float] = {}
    for name, (half, palettized, suffix) in FILES.items():
        whole, _ = _made(half, source, folder / f"{name}-float16{suffix}", {})
        stored, notes = _made(palettized, source, folder / f"{name}{suffix}", {"bits": 8, "mode": "unique"})
        found |= {f"{name}_bytes": stored, f"{name}_ratio": whole / stored}
    tflite, _ = _made("tflite-float16", source, folder / "float16.tflite", {})
    deflated = len(zlib.compress((folder / "float16.tflite").read_bytes(), 9))
    found |= {"tflite_bytes": tflite, "tflite_zlib_bytes": deflated}
    rows = notes["stored_weights"]
    coded = {key: sum(row[key] for row in rows) for key in ("entropy_bytes", "huffman_bytes", "zlib_bytes")}
    return found | coded | {"index_bytes": sum(int(np.prod(row["shape"])) * row["bits"] / 8 for row in rows)}


def _captured(module: "nn.Module", examples: "dict[str, Tensor]", path: Path) -> Path:
    file, capture = (import_module(f"edgewright.export.{name}") for name in ("onnx.file", "capture"))
    model = capture.capture_module(module, examples)
    contract = file.contract_of(model)
    path.unlink(missing_ok=True)
    file.save_model(import_module("edgewright.export.onnx.simplify").simplify(model)[0], contract, path)
    return path


def _made(name: str, source: Path, out: Path, choices: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Bytes of what a step makes, and its notes."""
    shutil.rmtree(out, ignore_errors=True)
    out.unlink(missing_ok=True)
    edges = import_module("edgewright.export.steps")
    chosen = next(step for step in edges.steps() if step.name == name)
    notes = chosen.function(artifact_at(source), out, edges.Job(), chosen.options(**choices))
    return package_bytes(out) if out.is_dir() else out.stat().st_size, notes
