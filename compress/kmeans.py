"""k-means in one dimension: on sorted points a cluster is an interval, and sums over it are differences."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
ROUNDS = 300
MOST_POINTS = 512
"""Up to so many distinct points the answer is optimal; the time grows with the square."""


def centroids(points: NDArray[Any], weights: NDArray[Any], k: int) -> Array:
    """`k` numbers, ascending, with little squared distance to `points` (distinct, ascending, `weights` above 0).

    More than `MOST_POINTS` are merged into so many first, narrow where optimal levels are dense (∝ density^⅓, Panter
    and Dite 1951); the best cut of these, by dynamic programming (Wang and Song 2011, ckmeans.1d.dp), is where Lloyd's
    iteration over all points begins. There must be more than `k` points.
    """
    x, weight = points.astype(np.float64), weights.astype(np.float64)
    sums = np.concatenate(([0.0], np.cumsum(weight * x)))
    totals = np.concatenate(([0.0], np.cumsum(weight)))
    edges = _merged(x, weight, max(MOST_POINTS, 2 * k))
    cuts = edges[_best_cuts(totals[edges], sums[edges], k)]
    return _settled(x, totals, sums, np.diff(sums[cuts]) / np.diff(totals[cuts]))


def _merged(x: Array, weight: Array, most: int) -> NDArray[np.intp]:
    """Where up to `most` groups of neighbours begin, and the end."""
    if len(x) <= most:
        return np.arange(len(x) + 1)
    room = np.gradient(x)
    share = np.cumsum(np.cbrt(weight * room * room))
    inner = np.searchsorted(share, share[-1] * np.arange(1, most) / most)
    begins: NDArray[np.intp] = np.unique(np.concatenate(([0], inner, [len(x)])))
    return begins


def _best_cuts(totals: Array, sums: Array, k: int) -> NDArray[np.intp]:
    """The ends of the `k` intervals that explain most, Σ sum² / count."""
    mass = totals[None, :] - totals[:, None]
    explained = np.square(sums[None, :] - sums[:, None]) / np.where(mass > 0, mass, 1)
    explained[mass <= 0] = -np.inf
    best, begins = explained[0], []
    for _ in range(k - 1):
        through = best[:, None] + explained
        begins.append(through.argmax(0))
        best = through.max(0)
    cuts = [len(totals) - 1]
    for begin in reversed(begins):
        cuts.insert(0, int(begin[cuts[0]]))
    return np.array([0, *cuts])


def _settled(x: Array, totals: Array, sums: Array, centers: Array) -> Array:
    """Lloyd's iteration (1982) until no point moves."""
    before = np.empty(0, np.intp)
    for _ in range(ROUNDS):
        inner = np.searchsorted(x, (centers[1:] + centers[:-1]) / 2)
        if np.array_equal(inner, before):
            break
        edges = np.concatenate(([0], inner, [len(x)]))
        mass, total = np.diff(totals[edges]), np.diff(sums[edges])
        centers = np.where(mass > 0, total / np.maximum(mass, 1), centers)
        before = inner
    return centers
