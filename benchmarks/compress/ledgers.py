"""Recipes of the compress example, run by the command line as a user runs them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from edgewright.benchmarks.compress.resume import remembered
from edgewright.benchmarks.quantization.networks import EXAMPLES, edgewright
from edgewright.benchmarks.quantization.table import Row
from edgewright.errors import BadInput

FILES = ("tflite:float32", "tflite:int8", "onnx:int8")
Stages = Mapping[str, Mapping[str, Any]]
"""Rows of a ledger: by the name of the stage, and of the last one also as other files."""


def ledger(recipe: str, seed: int, out: Path, files: Sequence[str] = FILES) -> Stages:
    """What `edgewright compress` says of ``examples/compress/RECIPE.toml`` with this seed, once for each `out`.

    Raises BadInput where a file diverged or the data are absent.
    """

    def run() -> dict[str, Any]:
        place = ["--out", str(out / "files" / f"{recipe}-{seed}"), "--store", str(out / "store")]
        path = EXAMPLES / "compress" / f"{recipe}.toml"
        found = edgewright(
            ["compress", "--recipe", str(path), "--seed", str(seed), "--to", ",".join(files), "--no-bench", *place]
        )
        return {row["stage"]: row for row in found["stages"]}

    return remembered(out, f"ledger-{recipe}-{seed}", run)


def row(label: str, runs: Sequence[Mapping[str, Any]]) -> Row:
    """Mean accuracy of the test part in % with its spread over the runs, and the largest file of them."""
    accuracies = [100 * float(run["accuracy"]) for run in runs]
    figures: Row = {"stage": label, "file": str(runs[0]["spec"]), "accuracy %": mean(accuracies)}
    figures["± s.d."] = stdev(accuracies) if len(accuracies) > 1 else None
    for name in ("parameters", "macs", "size_bytes"):
        figures[name.replace("size_bytes", "bytes")] = max(run[name] for run in runs)
    return figures


def stages(runs: Sequence[Stages], label: str = "") -> list[Row]:
    """A row for each stage over the runs of one recipe."""
    if any(list(run) != list(runs[0]) for run in runs):
        raise BadInput("the runs have other stages: the recipe changed; remove the results, and they are made again")
    return [row(label or name, [run[name] for run in runs]) for name in runs[0]]


def points(runs: Sequence[Stages], stage: str) -> float:
    """Mean accuracy of a stage, in %."""
    return mean([100 * float(run[stage]["accuracy"]) for run in runs])
