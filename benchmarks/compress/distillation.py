"""StudentNet on Fashion-MNIST, taught by a ResNet-18 of base width 16, or trained without it from the same start."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from edgewright.benchmarks.compress.resume import remembered
from edgewright.benchmarks.quantization.networks import EXAMPLES
from edgewright.benchmarks.quantization.real import samples
from edgewright.benchmarks.quantization.table import Bar, Row, Table
from edgewright.compress.distill import Distill, teach
from edgewright.compress.training import Training, accuracy_of, seeded, train_classifier
from edgewright.data import Samples
from edgewright.runtimes.module.preprocess import Preprocess

if TYPE_CHECKING:
    from torch import nn

SEEDS = (0, 1, 2)
PIXELS = Preprocess(scale=1 / 255, mean=(0.2190,), std=(0.3318,))
TEACHER = Training(epochs=4, batch=128, learning_rate=6e-3)
STUDENT = Training(epochs=4, batch=128, learning_rate=6e-3)
LABELLED = Distill(temperature=4.0, alpha=0.9, epochs=4, batch=128, learning_rate=6e-3)
TAUGHT: Mapping[str, Distill] = {"distilled": LABELLED, "distilled, no labels": replace(LABELLED, alpha=1.0)}
AHEAD = 0.0
"""Points: the least that the distilled student must be above the one trained alone."""


def measure(out: Path, seeds: Sequence[int] = SEEDS) -> Table:
    """Means over the students' seeds; all have one teacher. Each network reads the test part once."""
    data = fashion()
    runs = [remembered(out, f"distillation-{seed}", partial(_unit, data, out, seed)) for seed in seeds]
    taught = [{"teacher": remembered(out, "distillation-teacher", lambda: _figures(trained_teacher(data, out), data))}]
    rows = [_row(form, found) for found in (taught, runs) for form in found[0]]
    gained = {form: 100 * mean(run[form]["test"] - run["alone"]["test"] for run in runs) for form in TAUGHT}
    bars = [Bar("points that the distilled student is above the one trained alone", gained["distilled"], AHEAD)]
    return Table(f"Distillation on Fashion-MNIST, {len(seeds)} seed(s)", rows, bars)


def fashion() -> Samples:
    raw = samples("studentnet")
    return replace(raw, inputs={name: PIXELS.applied(array) for name, array in raw.inputs.items()})


def _unit(data: Samples, out: Path, seed: int) -> dict[str, Any]:
    """One student alone and in each taught form, all from the same weights."""
    train, validation = data.part("train"), data.part("validation")
    teacher = trained_teacher(data, out)
    result = {}
    for form in ("alone", *TAUGHT):
        student = _made("studentnet/studentnet.py", seed)
        if form == "alone":
            train_classifier(student, train, validation, replace(STUDENT, seed=seed), checkpoints=out / "alone")
        else:
            teach(student, [teacher], train, validation, replace(TAUGHT[form], seed=seed), scratch=out / "taught")
        result[form] = _figures(student, data)
    return result


def trained_teacher(data: Samples, out: Path) -> "nn.Module":
    """Trained once: its last checkpoint gives it back."""
    teacher = _made("compress/networks.py", 0)
    train_classifier(teacher, data.part("train"), data.part("validation"), TEACHER, checkpoints=out / "teacher")
    return teacher


def _made(file: str, seed: int) -> "nn.Module":
    from edgewright.runtimes.module import factory

    with seeded(seed):
        return factory.make(factory.find(f"{EXAMPLES / file}:fashion_mnist")).module


def _figures(module: "nn.Module", data: Samples) -> dict[str, Any]:
    parts = {part: accuracy_of(module, data.part(part)) for part in ("validation", "test")}
    return parts | {"parameters": sum(parameter.numel() for parameter in module.parameters())}


def _row(form: str, runs: Sequence[Mapping[str, Any]]) -> Row:
    figures = [run[form] for run in runs]
    shares = [100 * float(each["test"]) for each in figures]
    return {
        "network": form,
        "parameters": f"{figures[0]['parameters']:,}",
        "validation top-1 %": f"{100 * mean(each['validation'] for each in figures):.2f}",
        "test top-1 %": f"{mean(shares):.2f}" + (f" ± {stdev(shares):.2f}" if len(shares) > 1 else ""),
    }
