"""Confidence intervals of a median by the hierarchical bootstrap.

Samples of one process are alike, so processes are drawn first, then samples within each: the interval covers what
differs between processes (Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
CONFIDENCE = 0.95


def median_interval(groups: Sequence[Sequence[float]], seed: int = 0) -> tuple[float, float]:
    """The 95 % percentile interval of the median over `groups` (samples by process); the same seed, the same answer."""
    generator = np.random.default_rng(seed)
    arrays = [np.asarray(group, np.float64) for group in groups]
    medians = np.fromiter((np.median(_resample(arrays, generator)) for _ in range(RESAMPLES)), np.float64, RESAMPLES)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(medians, (tail, 1 - tail))
    return float(low), float(high)


def _resample(arrays: Sequence[NDArray[np.float64]], generator: np.random.Generator) -> NDArray[np.float64]:
    drawn = generator.integers(0, len(arrays), len(arrays))
    return np.concatenate([a[generator.integers(0, len(a), len(a))] for a in (arrays[index] for index in drawn)])
