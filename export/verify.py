"""Fidelity: does an artifact still answer like another on the same samples, and like the labels."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.data import Samples
from edgewright.devices.spec import Precision
from edgewright.errors import BadData
from edgewright.export.matching import matched, rows_agreement
from edgewright.runtimes.runtime import ROWS

Outputs = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Limit:
    """The least signal-to-noise ratio and top-1 agreement (0…1) at which a hop passes."""

    snr_db: float
    top1_agreement: float


LIMITS: Mapping[Precision, Limit] = {
    Precision.FLOAT32: Limit(80.0, 0.999),
    Precision.FLOAT16: Limit(40.0, 0.99),
    Precision.INT8: Limit(15.0, 0.93),
    Precision.MIXED: Limit(15.0, 0.93),
    Precision.INT8_WEIGHTS: Limit(20.0, 0.95),
    Precision.INT8_DYNAMIC: Limit(15.0, 0.93),
    Precision.INT4_WEIGHTS: Limit(8.0, 0.80),
    Precision.PALETTIZED: Limit(8.0, 0.80),
    Precision.SPARSE: Limit(8.0, 0.80),
}
"""By the precision of the child. float32 hops only reorder sums, float16 has 11 bits, int8 about 8 a layer, int4 4.

Palettes have as many bits as were asked for, and sparse weights lose what was asked: where nothing was, nothing.
"""

SAME_PRECISION = {
    Precision.INT8: Limit(25.0, 0.98),
    Precision.MIXED: Limit(25.0, 0.98),
    Precision.INT8_WEIGHTS: Limit(40.0, 0.99),
    Precision.INT4_WEIGHTS: Limit(40.0, 0.99),
}
"""Stricter where the parent has the same precision: a lowering must not requantize."""


@dataclass(frozen=True)
class Fidelity:
    """Against a reference. Higher is better, but for `max_abs`, the largest difference over all outputs.

    `snr_db` is 10 log10(Σ reference² / Σ (candidate - reference)²) of the worst output, infinity when all are equal.
    `top1_agreement` and `accuracy` are fractions for a first output that looks like class scores [n, classes], else
    None. `synthetic`: random probes, not data. `rows_agreement`: the share of rows that both count, where an output has
    as many as there are (boxes found); `rows_differ`: a sentence for each sample of which one has more than the other.
    The other figures leave these out.
    """

    samples: int
    max_abs: float
    snr_db: float
    top1_agreement: float | None
    accuracy: float | None
    synthetic: bool
    rows_agreement: float | None = None
    rows_differ: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """What JSON has no number for (infinity of either sign, NaN) stands as text."""
        figures = {"snr_db": self.snr_db, "max_abs": self.max_abs}
        return asdict(self) | {name: value if np.isfinite(value) else str(value) for name, value in figures.items()}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "Fidelity":
        figures = {name: float(raw[name]) for name in ("snr_db", "max_abs")}
        return cls(**{**raw, **figures, "rows_differ": tuple(raw.get("rows_differ", ()))})


def fidelity(reference: Outputs, candidate: Outputs, samples: Samples) -> Fidelity:
    """Compare outputs for the same samples. Raises BadData when names or shapes differ."""
    counted = {name.removesuffix(ROWS) for name in (*reference, *candidate) if name.endswith(ROWS)}
    agreement = rows_agreement(reference, candidate)
    reference, candidate, rows_differ = matched(reference, candidate)
    _check(reference, candidate)
    truth = {name: np.asarray(array, np.float64) for name, array in reference.items()}
    answer = {name: np.asarray(candidate[name], np.float64) for name in truth}
    scores = next(iter(truth))
    ranked = truth[scores].ndim == 2 and truth[scores].shape[1] > 1 and scores not in counted
    top = answer[scores].argmax(1) if ranked else None
    return Fidelity(
        samples=len(samples),
        max_abs=max(float(np.max(np.abs(answer[name] - truth[name]), initial=0)) for name in truth),
        snr_db=min(snr_db(truth[name], answer[name]) for name in truth),
        top1_agreement=None if top is None else float(np.mean(top == truth[scores].argmax(1))),
        accuracy=None if top is None or samples.labels is None else float(np.mean(top == samples.labels)),
        synthetic=samples.origin == "synthetic",
        rows_agreement=agreement,
        rows_differ=rows_differ,
    )


def snr_db(reference: NDArray[Any], answer: NDArray[Any]) -> float:
    """10 log10(signal / noise); infinity without noise, -infinity when the answer is not finite."""
    truth = np.asarray(reference, np.float64)
    noise = float(np.sum((np.asarray(answer, np.float64) - truth) ** 2))
    if not np.isfinite(noise):
        return float("-inf")
    if noise == 0:
        return float("inf")
    return float(10 * np.log10(max(float(np.sum(truth**2)), 1e-300) / noise))


def limit_for(child: Precision, parent: Precision) -> Limit | None:
    """What a hop must reach; None where no limit is set for the precision."""
    return SAME_PRECISION.get(child, LIMITS.get(child)) if child == parent else LIMITS.get(child)


def shortfalls(measured: Fidelity, limit: Limit) -> list[str]:
    """Each limit that is missed, as a sentence; empty when the hop passes.

    One flipped answer alone fails nothing: two classes may tie within the rounding, a large share of few samples.
    """
    missed = []
    if measured.snr_db < limit.snr_db:
        missed.append(f"SNR {measured.snr_db:.1f} dB is below {limit.snr_db:g} dB")
    if measured.top1_agreement is not None:
        flips = round((1 - measured.top1_agreement) * measured.samples)
        if flips > max(1.0, (1 - limit.top1_agreement) * measured.samples):
            missed.append(f"top-1 agreement {measured.top1_agreement:.2%} is below {limit.top1_agreement:.1%}")
    if measured.rows_agreement is not None and measured.rows_agreement < limit.top1_agreement:
        share = f"{measured.rows_agreement:.2%} of the rows is below {limit.top1_agreement:.1%}"
        missed.append(f"agreement on {share}: {measured.rows_differ[0]}")
    return missed


def first_bad_tensor(reference: Outputs, candidate: Outputs, floor_db: float) -> tuple[str, float] | None:
    """The first inner tensor, in the reference's order, that both have by name and whose SNR is below `floor_db`.

    Layouts may differ: of the axis orders that fit the shape, the one that agrees best counts.
    """
    for name, array in reference.items():
        if name not in candidate or array.size != candidate[name].size or array.dtype.kind != "f":
            continue
        measured = max(snr_db(array, order) for order in readings(candidate[name], array.shape))
        if measured < floor_db:
            return name, measured
    return None


def readings(array: NDArray[Any], shape: tuple[int, ...]) -> list[NDArray[Any]]:
    """`array` in the order of `shape`: as it stands, and read as channels-last."""
    orders = [array.reshape(shape)]
    if len(shape) > 2:
        orders.append(np.moveaxis(array.reshape(shape[0], *shape[2:], shape[1]), -1, 1))
    return orders


def _check(reference: Outputs, candidate: Outputs) -> None:
    problems = [f"{name} is missing" for name in reference if name not in candidate]
    problems += [
        f"{name} has shape {candidate[name].shape}, wanted {array.shape}"
        for name, array in reference.items()
        if name in candidate and candidate[name].shape != array.shape
    ]
    if problems:
        raise BadData("the outputs cannot be compared: " + "; ".join(problems))
