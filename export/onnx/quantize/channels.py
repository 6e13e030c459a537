"""What each channel of a tensor was seen to hold, streamed: its extremes and its energy."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgewright.data import Samples
from edgewright.export.onnx.quantize.calibrate import tensors_by_batch
from edgewright.progress import Progress
from edgewright.runtimes.contract import Contract

if TYPE_CHECKING:
    import onnx_ir as ir

Floats = NDArray[np.float64]
OUTLIER = 8.0
"""A channel that spans this many times the median channel takes three of the eight bits from the others."""


@dataclass(frozen=True)
class Channels:
    """Of a tensor [n, channels, ...], each [channels]: the extremes (zero included) and the mean square."""

    low: Floats
    high: Floats
    mean_square: Floats

    @property
    def span(self) -> Floats:
        return self.high - self.low

    def outliers(self) -> list[tuple[int, float]]:
        """Channels far wider than the median one, and how many times as wide."""
        ratio = self.span / max(float(np.median(self.span)), 1e-30)
        return [(int(index), float(ratio[index])) for index in np.flatnonzero(ratio > OUTLIER)]


def observe_channels(
    model: "ir.Model", contract: Contract, names: Collection[str], samples: Samples, progress: Progress
) -> dict[str, Channels]:
    """Run the float model over the samples; axis 1 of the tensors of these names counts channels."""
    seen: dict[str, Channels] = {}
    for count, values in enumerate(tensors_by_batch(model, contract, names, samples, progress, "measure channels")):
        now = {name: _channels(value) for name, value in values.items()}
        seen = now if not count else {name: _merged(seen[name], now[name], count) for name in now}
    return seen


def _channels(value: NDArray[Any]) -> Channels:
    rows = np.moveaxis(value, 1, 0).reshape(value.shape[1], -1).astype(np.float64)
    return Channels(np.minimum(rows.min(1), 0), np.maximum(rows.max(1), 0), (rows**2).mean(1))


def _merged(before: Channels, now: Channels, count: int) -> Channels:
    """Over `count` batches before, and one of the same size."""
    mean_square = before.mean_square + (now.mean_square - before.mean_square) / (count + 1)
    return Channels(np.minimum(before.low, now.low), np.maximum(before.high, now.high), mean_square)


def outlier_notes(seen: Mapping[str, Channels], most: int = 20) -> list[dict[str, Any]]:
    """The widest outlier channels of all tensors, for the record."""
    found = [(ratio, name, index) for name, channels in seen.items() for index, ratio in channels.outliers()]
    rows = sorted(found, reverse=True)[:most]
    return [{"tensor": name, "channel": index, "times_median": round(ratio, 1)} for ratio, name, index in rows]
