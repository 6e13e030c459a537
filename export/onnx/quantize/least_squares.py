"""The grid of weights that leaves the least squared error: large entries may saturate."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.export.onnx.quantize.grid import SMALLEST_SCALE

SHARES = np.linspace(1.05, 0.5, 23)
"""Of the range of the entries, where the grid may end."""


def least_error_grids(
    groups: NDArray[Any], low: int, high: int, *, symmetric: bool
) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Scales and zero points [n] for groups [n, k] that share one pair each, with codes from `low` to `high`.

    For each place of the grid's ends the codes are fixed and the scale fitted to them by least squares; the best counts
    (the search of OMSE, Choukroun et al. 2019, arXiv 1902.06822, with that refinement). A group of zeros gets scale 1;
    a symmetric grid the zero point 0.
    """
    real = groups.astype(np.float64)
    bottom, top = _ends(real, low, high, symmetric)
    best_scale, best_zero = _grid(bottom, top, low, high)
    least = _error(real, best_scale, best_zero, low, high)
    for share in SHARES:
        scale, zero = _grid(bottom * share, top * share, low, high)
        steps = encode_groups(real, scale, zero, low, high) - zero
        power = np.maximum((steps**2).sum(axis=1, keepdims=True), 1)
        fitted = np.maximum((steps * real).sum(axis=1, keepdims=True) / power, SMALLEST_SCALE)
        error = _error(real, fitted, zero, low, high)
        best_scale, best_zero = (
            np.where(error < least, new, old) for new, old in ((fitted, best_scale), (zero, best_zero))
        )
        least = np.minimum(error, least)
    return best_scale[:, 0].astype(np.float32), best_zero[:, 0].astype(np.int8)


def encode_groups(
    groups: NDArray[Any], scales: NDArray[Any], zero_points: NDArray[Any], low: int, high: int
) -> NDArray[np.float64]:
    """Codes, as whole floats; `scales` and `zero_points` are [n, 1]."""
    clipped: NDArray[np.float64] = np.clip(np.rint(groups / scales) + zero_points, low, high)
    return clipped


def _ends(real: NDArray[Any], low: int, high: int, symmetric: bool) -> tuple[NDArray[Any], NDArray[Any]]:
    """What each group's grid has to cover, zero included."""
    if symmetric:
        peak = np.abs(real).max(axis=1, keepdims=True)
        peak = np.where(peak > 0, peak, high)
        return -peak, peak
    bottom, top = np.minimum(real.min(axis=1, keepdims=True), 0), np.maximum(real.max(axis=1, keepdims=True), 0)
    return bottom, np.where(top > bottom, top, high - low)


def _grid(bottom: NDArray[Any], top: NDArray[Any], low: int, high: int) -> tuple[NDArray[Any], NDArray[Any]]:
    scale = np.maximum((top - bottom) / (high - low), SMALLEST_SCALE)
    return scale, np.clip(np.rint((low + high) / 2 - (bottom + top) / 2 / scale), low, high)


def _error(real: NDArray[Any], scale: NDArray[Any], zero: NDArray[Any], low: int, high: int) -> NDArray[Any]:
    decoded = (encode_groups(real, scale, zero, low, high) - zero) * scale
    total: NDArray[Any] = np.square(decoded - real).sum(axis=1, keepdims=True)
    return total
