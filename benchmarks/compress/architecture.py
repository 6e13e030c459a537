"""Low rank and depthwise-separable replacements on Fashion-MNIST: what they save, and what one epoch mends."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

import numpy as np

from edgewright.benchmarks.compress.resume import remembered
from edgewright.benchmarks.quantization.real import samples
from edgewright.benchmarks.quantization.table import Bar, Row, Table
from edgewright.compress.factorize import Factorize, factorize
from edgewright.compress.factors.layers import total_macs
from edgewright.compress.passes import Given
from edgewright.compress.separate import Separate, separate
from edgewright.compress.training import Training, accuracy_of, train_classifier
from edgewright.data import Samples

if TYPE_CHECKING:
    from torch import nn

SEEDS = (0, 1, 2)
MEAN, STD = 73.0, 90.0
"""Of the pixels of Fashion-MNIST before padding."""
LOST, AHEAD = 0.5, 0.1
"""Points: the most that low rank may lose after one epoch, and the least that SVD must be above random."""

Change = Callable[["nn.Module", Given], "nn.Module"]


@dataclass(frozen=True)
class Case:
    """A network, how long it is trained, the learning rate of the epoch of repair, and the forms of the network."""

    network: str
    epochs: int
    repair_rate: float
    forms: Mapping[str, Change]


def low_rank(**settings: Any) -> Change:
    return lambda module, given: factorize(module, Factorize(**settings), given)[0]


def separable(**settings: Any) -> Change:
    return lambda module, given: separate(module, Separate(**settings), given)[0]


HALF = "half the parameters, "
LOW_RANK = {
    HALF + "energy of the weights": low_rank(weighting="none"),
    HALF + "energy at the inputs": low_rank(),
    HALF + "sensitivity": low_rank(importance="sensitivity"),
}
RANDOM, SVD = "depthwise-separable, random", "depthwise-separable, SVD"
CASES = (
    Case("mlp", 6, 3e-4, LOW_RANK),
    Case("mixer", 4, 3e-4, LOW_RANK),
    Case(
        "cnn",
        4,
        1e-3,
        {
            RANDOM: separable(init="random"),
            SVD: separable(weighting="none"),
            SVD + " and least squares": separable(),
            "low rank, half the MACs": low_rank(rank_by="macs"),
        },
    ),
)


def measure(out: Path, seeds: Sequence[int] = SEEDS) -> Table:
    """Means over seeds of the test accuracy, before and after one epoch of fine-tuning with the training's own loop."""
    rows: list[Row] = []
    bars: list[Bar] = []
    for case in CASES:
        runs = [_remembered(out, case, seed) for seed in seeds]
        rows += [_row(case.network, form, [run[form] for run in runs]) for form in runs[0]]
        bars += _bars(case, runs)
    return Table(f"Architecture design on Fashion-MNIST, {len(seeds)} seed(s)", rows, bars)


def _remembered(out: Path, case: Case, seed: int) -> dict[str, Any]:
    return remembered(out, f"architecture-{case.network}-{seed}", lambda: _unit(case, seed))


def _unit(case: Case, seed: int) -> dict[str, Any]:
    """Every form of one network trained with one seed. The original gets its extra epoch too, for comparison."""
    import torch

    from edgewright.benchmarks.compress.plain_networks import made

    data = scaled(samples("studentnet"))
    train, validation, test = (data.part(part) for part in ("train", "validation", "test"))
    given = Given({"image": torch.zeros(1, 1, 32, 32)}, train, validation)
    network = made(case.network, seed)
    train_classifier(network, train, validation, Training(case.epochs, seed=seed))
    result: dict[str, Any] = {}
    for form, change in {"original": lambda module, _: copy.deepcopy(module), **case.forms}.items():
        smaller = change(network, given)
        parameters, macs = sum(p.numel() for p in smaller.parameters()), total_macs(smaller, given.example_inputs)
        zero = accuracy_of(smaller, test)
        train_classifier(smaller, train, validation, Training(1, learning_rate=case.repair_rate, seed=seed))
        result[form] = {"parameters": parameters, "macs": macs, "zero": zero, "one": accuracy_of(smaller, test)}
    return result


def scaled(raw: Samples) -> Samples:
    """Pixels 0…255 as numbers of mean 0 and spread 1."""
    inputs = {name: ((array - MEAN) / STD).astype(np.float32) for name, array in raw.inputs.items()}
    return Samples(inputs, raw.labels, raw.split, raw.origin)


def _row(network: str, form: str, runs: Sequence[Mapping[str, float]]) -> Row:
    return {
        "network": network,
        "form": form,
        "parameters": _whole([run["parameters"] for run in runs]),
        "MACs": _whole([run["macs"] for run in runs]),
        "top-1 % after 0 epochs": _spread([run["zero"] for run in runs]),
        "after 1 epoch": _spread([run["one"] for run in runs]),
    }


def _bars(case: Case, runs: Sequence[Mapping[str, Any]]) -> list[Bar]:
    """Points, as means over the seeds."""

    def points(form: str, after: str, other: str, before: str) -> float:
        return 100 * mean(float(run[form][after] - run[other][before]) for run in runs)

    bars = [
        Bar(f"{case.network}, {form}: points lost after 1 epoch", -points(form, "one", "original", "zero"), LOST, True)
        for form in case.forms
        if form.startswith(HALF)
    ]
    for form in (form for form in case.forms if form.startswith(SVD)):
        for epochs, after in (("0 epochs", "zero"), ("1 epoch", "one")):
            gained = points(form, after, RANDOM, after)
            bars.append(Bar(f"{case.network}, {form}: points above random after {epochs}", gained, AHEAD))
    return bars


def _spread(shares: Sequence[float]) -> str:
    text = f"{100 * mean(shares):.2f}"
    return text if len(shares) < 2 else f"{text} ± {100 * stdev(shares):.2f}"


def _whole(counts: Sequence[float]) -> str:
    return f"{mean(counts):,.0f}"
