"""Where to cut a range, by what int8 makes of a histogram: less reach for finer steps."""

import numpy as np
from numpy.typing import NDArray

from edgewright.export.onnx.quantize.grid import HIGH, LOW, Grid, activation_grid

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
CUTS = np.linspace(1.0, 0.2, 41)
"""The shares of the full range that are tried."""


def least_error(centres: Floats, counts: Counts, low: float, high: float) -> tuple[float, float]:
    """The range whose int8 codes have the least squared error (OMSE, Choukroun et al. 2019, arXiv 1902.06822).

    `centres`, `counts` [bins] are the histogram, `low` and `high` the extremes. Both ends are cut together, then each.
    """
    values, share = _held(centres, counts)

    def error(cut_low: float, cut_high: float) -> float:
        grid = activation_grid(cut_low * low, cut_high * high)
        difference: Floats = (_codes(values, grid) - grid.zero_point) * grid.scale - values
        return float(share @ difference**2)

    both = min(CUTS, key=lambda cut: error(cut, cut))
    lower = min(CUTS, key=lambda cut: error(cut, both))
    upper = min(CUTS, key=lambda cut: error(lower, cut))
    return float(lower * low), float(upper * high)


def least_divergence(centres: Floats, counts: Counts, low: float, high: float) -> tuple[float, float]:
    """The range that loses least of the distribution, by Kullback-Leibler divergence (Migacz, GTC 2017).

    What lies outside is counted at the edge; the share of a code is spread over those of its bins that hold values.
    The bins at zero do not count: what a ReLU cut off is exact on every grid.
    """
    middle = len(centres) // 2
    counts = counts.copy()
    counts[middle - 1 : middle + 1] = 0
    if not counts.any():
        return low, high
    values, share = _held(centres, counts)

    def divergence(cut: float) -> float:
        inside = (values >= cut * low) & (values <= cut * high)
        if not inside.any():
            return np.inf
        codes = _codes(values[inside], activation_grid(cut * low, cut * high)).astype(np.int64) - LOW
        reference = share[inside].copy()
        reference[0] += share[values < cut * low].sum()
        reference[-1] += share[values > cut * high].sum()
        kept = np.bincount(codes, share[inside], HIGH - LOW + 1) / np.maximum(
            np.bincount(codes, None, HIGH - LOW + 1), 1
        )
        spread = kept[codes] / kept[codes].sum()
        return float(reference @ np.log(reference / spread))

    cut = min(CUTS, key=divergence)
    return float(cut * low), float(cut * high)


def _held(centres: Floats, counts: Counts) -> tuple[Floats, Floats]:
    """The bins that hold something, and their shares."""
    held = counts > 0
    return centres[held], counts[held] / counts.sum()


def _codes(values: Floats, grid: Grid) -> Floats:
    codes: Floats = np.clip(np.rint(values / grid.scale) + grid.zero_point, LOW, HIGH)
    return codes
