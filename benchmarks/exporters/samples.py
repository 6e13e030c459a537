"""Seeded inputs, and the axis orders in which converters take them."""

from collections.abc import Sequence
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.errors import BadInput

Array = NDArray[Any]
NOISE = 0.3


def smooth(shape: Sequence[int], count: int, seed: int) -> Array:
    """Fields [count, *shape] that change slowly along all axes but the first, of different strength, with some noise.

    White noise would average out in a network: all its answers were the same.
    """
    generator = np.random.default_rng(seed)
    white = generator.standard_normal((count, *shape))
    axes = tuple(range(2, white.ndim))
    spectrum = np.fft.fftn(white, axes=axes)
    for axis in axes:
        along = [1] * white.ndim
        along[axis] = -1
        frequency = np.fft.fftfreq(white.shape[axis], 1 / white.shape[axis])
        spectrum /= (1 + frequency**2).reshape(along)
    slow = np.fft.ifftn(spectrum, axes=axes).real
    slow /= slow.std(axis=axes, keepdims=True)
    gain = generator.uniform(0.5, 1.5, (count, *[1] * len(shape)))
    return np.asarray(gain * slow + NOISE * white, np.float32)


def order(shape: Sequence[int | None], wanted: Sequence[int | None]) -> tuple[int, ...]:
    """The permutation that makes `wanted` of `shape`, the batch first: as it is, else channels last or first.

    Raises BadInput when there is none.
    """
    rank = len(shape)
    as_it_is, last, first = tuple(range(rank)), (0, *range(2, rank), 1), (0, rank - 1, *range(1, rank - 1))
    for found in (as_it_is, last, first, *permutations(range(rank))) if rank > 1 else (as_it_is,):
        if len(wanted) == rank and tuple(shape[axis] for axis in found) == tuple(wanted):
            return found
    raise BadInput(f"no order of the axes {list(shape)} gives {list(wanted)}")


def fitted(samples: Array, wanted: Sequence[int | None]) -> Array:
    """Samples [count, …] with the axis order of a file that takes `wanted`, a batch of one."""
    return np.ascontiguousarray(samples.transpose(order((1, *samples.shape[1:]), wanted)))
