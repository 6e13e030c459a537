"""An early exit on StudentNet: the mean cost and time of Fashion-MNIST's test images, and what accuracy it takes."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from importlib import import_module
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

import numpy as np

from edgewright.benchmarks.compress.architecture import scaled
from edgewright.benchmarks.compress.resume import remembered
from edgewright.benchmarks.harness import measure_all
from edgewright.benchmarks.measurement import Measurement
from edgewright.benchmarks.quantization.real import DATA, samples
from edgewright.benchmarks.quantization.table import Bar, Row, Table
from edgewright.compress.early_exit import EarlyExit, with_exits
from edgewright.compress.passes import Given
from edgewright.compress.training import Training, accuracy_of, train_classifier
from edgewright.data import Samples
from edgewright.runtimes.artifact import artifact_at

if TYPE_CHECKING:
    from torch import nn

SEEDS = (0, 1, 2)
FACTORY = DATA["studentnet"].parent / "studentnet.py"
EXITS = EarlyExit(("features.3",), pool=2, hidden=64, frozen=True, drop=0.0025)
"""Half of the bar's accuracy: the thresholds are set on 2,000 validation images, the bar is judged on the test part."""
LEAST_SPEEDUP, MOST_DROP_POINTS = 1.5, 0.5


def measure(out: Path, seeds: Sequence[int] = SEEDS) -> Table:
    """Each seed trains a network and then a head on it. Times: LiteRT on one thread, medians of CPU time."""
    runs = [remembered(out, f"dynamic-studentnet-{seed}", partial(_unit, out, seed)) for seed in seeds]
    faster = mean(run["network_ms"] / run["expected_ms"] for run in runs)
    drop = 100 * mean(run["plain"] - run["test"]["accuracy"] for run in runs)
    bars = [
        Bar("times lower mean latency", faster, LEAST_SPEEDUP),
        Bar("drop in points", drop, MOST_DROP_POINTS, at_most=True),
    ]
    rows = [_row(seed, run) for seed, run in zip(seeds, runs, strict=True)]
    return Table(f"Early exit of StudentNet on Fashion-MNIST, {len(seeds)} seed(s)", rows, bars)


def _unit(out: Path, seed: int) -> dict[str, Any]:
    import torch

    from edgewright.runtimes.module import factory

    data = scaled(samples("studentnet"))
    torch.manual_seed(seed)
    network = factory.make(factory.find(f"{FACTORY}:fashion_mnist")).module
    settings = Training(epochs=6, batch=128, learning_rate=6e-3, seed=seed)
    train_classifier(network, data.part("train"), data.part("validation"), settings)
    return with_an_exit(network, data, out / f"dynamic-{seed}", seed)


def with_an_exit(network: "nn.Module", data: Samples, folder: Path, seed: int) -> dict[str, Any]:
    """What an exit brings to a trained network; its stages and the network's own file lie in `folder`."""
    import torch

    staging, capture, tflite, simplify = (  # by name: what measures imports no exporter
        import_module(f"edgewright.{name}")
        for name in ("api.staged", "export.capture", "export.tflite.convert", "export.onnx.simplify")
    )
    examples = {"image": torch.zeros(1, 1, 32, 32)}
    settings = Training(epochs=2, batch=128, learning_rate=6e-3, seed=seed)
    given = Given(examples, data.part("train"), data.part("validation"), settings)
    exits = with_exits(network, EXITS, given)
    made = staging.staged(exits, examples, data, folder / "stages", EXITS, bench=False)
    model, _ = simplify.simplify(capture.capture_module(network, examples))
    tflite.write(folder / "network.tflite", tflite.convert(model))
    files = [folder / "network.tflite", *(folder / "stages" / stage.file for stage in made.stages)]
    whole, *stages = _times([artifact_at(file) for file in files])
    return {
        "plain": accuracy_of(network, data.part("test")),
        "test": asdict(made.test),
        "macs": [made.network_macs, made.test.mean_cost, made.worst_macs],
        "network_ms": whole,
        "expected_ms": float(np.dot(made.test.rates, np.cumsum(stages))),
        "worst_ms": sum(stages),
    }


def _times(artifacts: Sequence[Any]) -> list[float]:
    """Interleaved; raises the first error."""
    times = []
    for found in measure_all(artifacts):
        if not isinstance(found, Measurement):
            raise found
        times.append(found.cpu_median_ms)
    return times


def _row(seed: int, run: dict[str, Any]) -> Row:
    network, expected, worst = run["macs"]
    return {
        "seed": seed,
        "top-1 % without": 100 * run["plain"],
        "with": 100 * run["test"]["accuracy"],
        "leave early %": 100 * run["test"]["rates"][0],
        "MACs without": network,
        "expected": round(expected),
        "worst": worst,
        "µs without": 1000 * run["network_ms"],
        "µs expected": 1000 * run["expected_ms"],
        "µs worst": 1000 * run["worst_ms"],
    }
