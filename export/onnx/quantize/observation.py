"""What was seen of one tensor, in bounded memory, and the ranges that follow from it."""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgewright.export.onnx.quantize.ranges import least_divergence, least_error

Estimator = Literal["minmax", "average", "percentile", "mse", "entropy"]
ESTIMATORS: tuple[Estimator, ...] = ("minmax", "average", "percentile", "mse", "entropy")
PERCENTILE = 99.99  # of the values lie inside, half of the rest on each side
HALF_BINS = 2048  # histogram bins on each side of zero
DRAWN = 2**14  # values per call that the histogram counts


@dataclass
class Observation:
    """Running extremes, sums of each batch's extremes, and a histogram over [-reach, reach] that widens by doubling."""

    low: float = np.inf
    high: float = -np.inf
    _batches: int = 0
    _low_sum: float = 0.0
    _high_sum: float = 0.0
    _reach: float = 0.0
    _counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(2 * HALF_BINS, np.int64))

    def add(self, values: NDArray[Any]) -> None:
        """See one batch (any shape, finite); nothing is seen of an empty one."""
        if values.size == 0:
            return
        low, high = float(values.min()), float(values.max())
        self.low, self.high = min(self.low, low), max(self.high, high)
        self._batches += 1
        self._low_sum += low
        self._high_sum += high
        self._widen(max(abs(low), abs(high)))
        if self._reach:
            drawn = values.reshape(-1)[:: max(1, values.size // DRAWN)].astype(np.float64)
            bins = ((drawn / self._reach + 1) * HALF_BINS).astype(np.int64)
            self._counts += np.bincount(np.clip(bins, 0, 2 * HALF_BINS - 1), minlength=2 * HALF_BINS)

    def range(self, estimator: Estimator) -> tuple[float, float]:
        """minmax: the extremes · average: the mean of each batch's extremes · percentile: without the outermost values
        · mse: the range whose int8 codes lie nearest to the values · entropy: that keeps most of their distribution.

        The first three are those of Krishnamoorthi 2018 (arXiv 1806.08342); all lie within the extremes.
        """
        if not self._batches:
            return 0.0, 0.0
        if estimator == "minmax" or not self._reach:
            return self.low, self.high
        if estimator == "average":
            return self._low_sum / self._batches, self._high_sum / self._batches
        if estimator in ("mse", "entropy"):
            search = least_error if estimator == "mse" else least_divergence
            return search(self._centres(), self._counts, self.low, self.high)
        share = np.cumsum(self._counts) / self._counts.sum()
        outside = (1 - PERCENTILE / 100) / 2
        first = int(np.searchsorted(share, outside, side="right"))
        last = int(np.searchsorted(share, 1 - outside, side="left"))
        edge = self._reach / HALF_BINS
        low, high = (first - HALF_BINS) * edge, (last + 1 - HALF_BINS) * edge
        return max(low, self.low), min(high, self.high)

    def _centres(self) -> NDArray[np.float64]:
        return (np.arange(2 * HALF_BINS) + 0.5 - HALF_BINS) * (self._reach / HALF_BINS)

    def _widen(self, peak: float) -> None:
        """Make room for `peak`, keeping the counts: each doubling merges pairs of bins around zero."""
        if peak == 0 or peak <= self._reach:
            return
        if not self._reach:
            self._reach = 2.0 ** np.ceil(np.log2(peak))
            return
        while self._reach < peak:
            merged = self._counts.reshape(-1, 2).sum(1)
            self._counts = np.pad(merged, HALF_BINS // 2)
            self._reach *= 2
