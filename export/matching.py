"""Rows that a model counts for each sample, such as boxes found: which of two artifacts' rows belong together."""

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.runtimes.runtime import ROWS

Outputs = Mapping[str, NDArray[Any]]


def matched(reference: Outputs, candidate: Outputs) -> tuple[Outputs, Outputs, tuple[str, ...]]:
    """Both without the rows of samples that have another number of them, and a sentence for each of these.

    Rows of nearly equal score may change places, so each of the reference's meets the nearest of the candidate's.
    """
    reference, candidate = _told(reference, candidate), _told(candidate, reference)
    ours, theirs, differing = dict(reference), dict(candidate), list[str]()
    for name in (name for name in reference if f"{name}{ROWS}" in reference and f"{name}{ROWS}" in candidate):
        wanted, given = ours.pop(f"{name}{ROWS}"), theirs.pop(f"{name}{ROWS}")
        if wanted.shape != given.shape or ours[name].shape[1:] != theirs[name].shape[1:]:
            continue  # another shape altogether
        pairs = list(zip(_parts(ours[name], wanted), _parts(theirs[name], given), strict=True))
        same = [(a, _like(a, b)) for a, b in pairs if len(a) == len(b)]
        odd = [(k, len(a), len(b)) for k, (a, b) in enumerate(pairs) if len(a) != len(b)]
        differing += [f"{name!r} of sample {k} has {have} rows, not {want}" for k, want, have in odd]
        ours[name], theirs[name] = (
            np.concatenate([array[:0], *(pair[side] for pair in same)])
            for side, array in enumerate((ours[name], theirs[name]))
        )
    return ours, theirs, tuple(differing)


def rows_agreement(reference: Outputs, candidate: Outputs) -> float | None:
    """Which share of all rows both have: 1 where each sample has as many in both; None without counted rows."""
    reference, candidate = _told(reference, candidate), _told(candidate, reference)
    pairs = [(reference[name], candidate[name]) for name in reference if name.endswith(ROWS) and name in candidate]
    pairs = [(want, have) for want, have in pairs if want.shape == have.shape]
    every = sum(int(np.maximum(want, have).sum()) for want, have in pairs)
    both = sum(int(np.minimum(want, have).sum()) for want, have in pairs)
    return (both / every if every else 1.0) if pairs else None


def _told(outputs: Outputs, others: Outputs) -> Outputs:
    """Also with the numbers of rows that the others tell, where those here are all the same."""
    told = dict(outputs)
    for key in (key for key in others if key.endswith(ROWS) and key not in outputs):
        name, calls = key.removesuffix(ROWS), len(others[key])
        row = others[name].shape[1:]
        if name in outputs and outputs[name].shape[outputs[name].ndim - len(row) :] == row:
            rows = outputs[name].reshape(-1, *row)
            told |= {name: rows, key: np.full(calls, len(rows) // calls)}
    return told


def _parts(array: NDArray[Any], counts: NDArray[Any]) -> list[NDArray[Any]]:
    return np.split(array, np.cumsum(counts)[:-1])


def _like(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """The rows of `b`, each once, in the order of those of `a`."""
    wanted, given = (np.asarray(rows, np.float64).reshape(len(rows), prod(rows.shape[1:])) for rows in (a, b))
    free, order = np.zeros(len(b)), np.zeros(len(b), np.int64)
    for place, row in enumerate(wanted):
        distance: NDArray[np.float64] = ((given - row) ** 2).sum(axis=1)
        order[place] = np.argmin(np.where(np.isnan(distance), np.finfo(np.float64).max, distance) + free)
        free[order[place]] = np.inf
    return b[order]
