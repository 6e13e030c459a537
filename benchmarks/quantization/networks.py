"""The networks that are measured: float and int8 files of each, built by the command line as a user builds them."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgewright.data import Samples, load_samples
from edgewright.errors import BadInput

EXAMPLES = Path("examples")
RECIPES: Mapping[str, str] = {"watch": "watch.npz", "studentnet": "fashion.npz", "efficientnet": "efficientnet.npz"}
"""Example folder → its data file."""

SEEDED = ("watch_cnn", "student_net", "mobilenet_v2", "resnet18", "efficientnet_lite0")


@dataclass(frozen=True)
class Network:
    """`folder` holds float32.onnx, float32.tflite, int8.onnx and int8.tflite (or mixed ones in their place)."""

    name: str
    folder: Path
    data: Path

    def file(self, name: str) -> Path:
        return self.folder / name

    def part(self, name: str) -> Samples:
        return load_samples(str(self.data)).part(name)


def trained(name: str, out: Path) -> Network:
    """Build an example's recipe into `out` (trained modules come from the store). Raises BadInput without its data."""
    recipe, data = EXAMPLES / name / "edgewright.toml", EXAMPLES / name / RECIPES[name]
    if not data.exists():
        raise BadInput(f"{data} is absent: python {EXAMPLES / name / 'prepare.py'}")
    folder = out / name
    edgewright(["build", "--recipe", str(recipe), "--no-bench", "--out", str(folder)])
    return Network(name, folder, data)


def quantized_afresh(name: str, model: str, data: Path, folder: Path, precision: str = "int8") -> Network:
    """Float files from `model` (a float .onnx or a factory), int8 or mixed ones from the data's calibration part."""
    folder.mkdir(parents=True, exist_ok=True)
    network = Network(name, folder, data)
    convert(model, network.file("float32.onnx"), "float32", data)
    for suffix, chosen in ((".tflite", "float32"), (".onnx", precision), (".tflite", precision)):
        convert(str(network.file("float32.onnx")), network.file(f"{chosen}{suffix}"), chosen, data)
    return network


def convert(source: str, out: Path, precision: str, data: Path) -> None:
    """By the command line, with learned rounding where weights become int8."""
    learned = ["--rounding", "learned"] if precision in ("int8", "mixed") else []
    edgewright(["convert", source, str(out), "--precision", precision, "--data", str(data), *learned])


def diverged(refusal: BadInput) -> str:
    """The line in which the command line says why. Raises the refusal itself when it is about something else."""
    line = next((line for line in str(refusal).splitlines() if "is below" in line), None)
    if line is None:
        raise refusal
    return line


def write_data(path: Path, calibration: Samples, test: Samples) -> Path:
    """An .npz with nothing but these two parts: what calibrates here calibrates every peer."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: np.concatenate([array, test.inputs[name]]) for name, array in calibration.inputs.items()}
    split = np.repeat(["calibration", "test"], [len(calibration), len(test)])
    if calibration.labels is not None and test.labels is not None:
        arrays["labels"] = np.concatenate([calibration.labels, test.labels])
    np.savez(path, split=split, **arrays)
    return path


def edgewright(words: Sequence[str]) -> dict[str, Any]:
    """What a command prints with --json. Raises BadInput with its last words when it fails."""
    command = [sys.executable, "-m", "edgewright", *words, "--json"]
    done = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True)
    if done.returncode:
        raise BadInput(f"{' '.join(words)} failed:\n{done.stderr.strip()[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
