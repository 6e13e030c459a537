"""A weight as indices into tables of few values, one table for each group of its channels."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.compress.kmeans import centroids

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Table:
    """weight = values[group, index]. `values` [groups, at most 2^bits], short ones filled up with their last value;
    `places` in the shape of the weight: where each entry stands in `values`, flattened.
    """

    bits: int
    values: NDArray[np.float32]
    places: NDArray[np.int64]

    @property
    def weight(self) -> NDArray[np.float32]:
        return self.values.reshape(-1)[self.places]


def table_of(weight: Array, importance: Array, bits: int, channel_axis: int, group_channels: int) -> Table:
    """The values of least squared error, weighed by `importance`. Zeros of a pruned weight stay zeros."""
    groups = weight.shape[channel_axis] // group_of(weight.shape[channel_axis], group_channels)
    rows, shares = (np.moveaxis(each, channel_axis, 0).reshape(groups, -1) for each in (weight, importance))
    tables = [_values(row, share, 1 << bits) for row, share in zip(rows, shares, strict=True)]
    longest = max(map(len, tables))
    values = np.stack([np.pad(table, (0, longest - len(table)), "edge") for table in tables])
    places = [_nearest(table, row) + i * longest for i, (table, row) in enumerate(zip(tables, rows, strict=True))]
    lengths = np.moveaxis(weight, channel_axis, 0).shape
    whole = np.moveaxis(np.stack(places).reshape(lengths), 0, channel_axis)
    return Table(bits, values, np.ascontiguousarray(whole))


def group_of(channels: int, most: int) -> int:
    """The largest divisor of `channels` up to `most`; all without one."""
    return max(n for n in range(1, min(most or channels, channels) + 1) if channels % n == 0)


def _values(row: Array, share: Array, k: int) -> NDArray[np.float32]:
    """Ascending, at most `k`."""
    points, place = np.unique(row, return_inverse=True)
    if len(points) <= k:
        return points.astype(np.float32)
    weights = np.bincount(place.reshape(-1), weights=share)
    if np.count_nonzero(row == 0) <= row.size / k:
        return centroids(points, weights, k).astype(np.float32)
    kept = points != 0
    others = centroids(points[kept], weights[kept], k - 1) if np.count_nonzero(kept) > k - 1 else points[kept]
    return np.sort(np.append(others, 0.0)).astype(np.float32)


def _nearest(table: Array, row: Array) -> NDArray[np.int64]:
    wide = table.astype(np.float64)  # halfway between neighbours is then no value of the table
    return np.searchsorted((wide[1:] + wide[:-1]) / 2, row)
