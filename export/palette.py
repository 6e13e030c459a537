"""An array → indices into tables of few values."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgewright.compress.kmeans import centroids

Array = NDArray[Any]
Mask = NDArray[np.bool_]
INT8_MOST = 127


class Choice(Protocol):
    """What a format can store and a user chose of it. `widths`: bits that an index may have, ascending; `masks`: zeros
    may be left out. The others are those of Core ML's options.
    """

    @property
    def group_channels(self) -> int: ...
    @property
    def channel_scales(self) -> bool: ...
    @property
    def mode(self) -> str: ...
    @property
    def table(self) -> str: ...
    @property
    def widths(self) -> tuple[int, ...]: ...
    @property
    def masks(self) -> bool: ...


@dataclass(frozen=True, eq=False)
class Palette:
    """w = tables[group, index] · table_scales[group] · channel_scales[channel]; absent scales are 1.

    `indices` uint8 in the shape of the array. `tables` [groups, 2^bits], float or int8; groups and channels count along
    `axis`. `mask`, where there is one, says which entries are stored; the others are 0. `exact`: nothing was lost.
    """

    bits: int
    axis: int
    indices: NDArray[np.uint8]
    tables: Array
    exact: bool
    mask: Mask | None = None
    table_scales: Array | None = None
    channel_scales: Array | None = None

    @property
    def stored_bytes(self) -> int:
        """What the file holds, headers and alignment aside."""
        size = self.indices.size
        kept = size if self.mask is None else int(np.count_nonzero(self.mask))
        arrays = [each for each in (self.tables, self.table_scales, self.channel_scales) if each is not None]
        mask_bytes = 0 if self.mask is None else -(-size // 8)
        return mask_bytes + -(-kept * self.bits // 8) + sum(array.nbytes for array in arrays)

    @property
    def group_channels(self) -> int:
        """How many channels share a table."""
        return self.indices.shape[self.axis] // len(self.tables)


def palettize(array: Array, axis: int, options: Choice, bits: int) -> Palette | str:
    """The palette of an array whose output channels count along `axis`, or why there is none.

    Fewer bits than `bits` where they are exact. A bit mask takes the zeros out where that is possible and saves bytes.
    """
    group = _group(array.shape[axis], options.group_channels)
    nonzero = array != 0
    masks = [None, nonzero] if options.masks and 0 < np.count_nonzero(nonzero) < array.size else [None]
    exact = [_exact(array, axis, group, options, bits, mask) for mask in masks] if options.table == "float" else []
    if found := [palette for palette in exact if palette is not None]:
        return min(found, key=lambda palette: palette.stored_bytes)
    if options.mode == "unique":
        return f"more than {1 << bits} values{f' in {group} channels' if group < array.shape[axis] else ''}"
    saves = len(masks) > 1 and np.count_nonzero(nonzero) * bits + array.size < array.size * bits
    return _clustered(array, axis, group, options, bits, nonzero if saves else None)


def _exact(array: Array, axis: int, group: int, options: Choice, bits: int, mask: Mask | None) -> Palette | None:
    """Tables that hold every value as it is, with as few bits as that takes; None beyond `bits`."""
    groups = array.shape[axis] // group
    distinct = [np.unique(values) for values in _stored(array, axis, groups, mask)]
    most = max(map(len, distinct))
    fewest = next((width for width in options.widths if width <= bits and most <= 1 << width), None)
    if fewest is None:
        return None
    tables = np.stack([_padded(values, 1 << fewest) for values in distinct]).astype(array.dtype)
    return _looked_up(array, axis, tables, fewest, mask, exact=True)


def _clustered(array: Array, axis: int, group: int, options: Choice, bits: int, mask: Mask | None) -> Palette:
    """k-means of each group's values, divided by the channel's largest one where asked."""
    scales = _peaks(array, axis) if options.channel_scales else None
    scaled = array.astype(np.float32)
    if scales is not None:
        scaled = scaled / along(scales, axis, array.ndim).astype(np.float32)
    stored = _stored(scaled, axis, array.shape[axis] // group, mask)
    tables = np.stack([_table(values, 1 << bits) for values in stored])
    if options.table == "float":
        return _looked_up(scaled, axis, tables.astype(array.dtype), bits, mask, channel_scales=scales)
    steps = np.maximum(np.abs(tables).max(1) / INT8_MOST, np.finfo(array.dtype).tiny).astype(array.dtype)
    codes = np.clip(np.rint(tables / steps[:, None]), -INT8_MOST, INT8_MOST).astype(np.int8)
    return _looked_up(scaled, axis, codes, bits, mask, table_scales=steps, channel_scales=scales)


def _looked_up(
    scaled: Array,
    axis: int,
    tables: Array,
    bits: int,
    mask: Mask | None,
    *,
    exact: bool = False,
    table_scales: Array | None = None,
    channel_scales: Array | None = None,
) -> Palette:
    """Each entry's nearest value in its table; tables are ascending."""
    real = tables.astype(np.float64)  # halfway between neighbours is then no value of a table
    if table_scales is not None:
        real = real * table_scales.astype(np.float64)[:, None]
    rows = _rows(scaled, axis, len(tables))
    found = [np.searchsorted((row[1:] + row[:-1]) / 2, values) for row, values in zip(real, rows)]
    lengths = np.moveaxis(scaled, axis, 0).shape
    indices = np.moveaxis(np.stack(found).astype(np.uint8).reshape(lengths), 0, axis)
    return Palette(bits, axis, np.ascontiguousarray(indices), tables, exact, mask, table_scales, channel_scales)


def _table(values: Array, k: int) -> Array:
    points, counts = np.unique(values, return_counts=True)
    return centroids(points, counts, k) if len(points) > k else _padded(points, k)


def _padded(values: Array, k: int) -> Array:
    """The last value fills up; zeros where there is none."""
    return np.pad(values, (0, k - len(values)), "edge" if len(values) else "constant")


def _group(channels: int, most: int) -> int:
    """The largest divisor of `channels` up to `most`; all without one."""
    return max(n for n in range(1, min(most or channels, channels) + 1) if channels % n == 0)


def _rows(array: Array, axis: int, groups: int) -> Array:
    """[groups, entries of its channels]."""
    return np.moveaxis(array, axis, 0).reshape(groups, -1)


def _stored(array: Array, axis: int, groups: int, mask: Mask | None) -> list[Array]:
    """The entries of each group that the mask keeps."""
    rows = _rows(array, axis, groups)
    return list(rows) if mask is None else [row[keep] for row, keep in zip(rows, _rows(mask, axis, groups))]


def along(parameter: Array, axis: int, rank: int) -> Array:
    """A number for each slice of one axis, to be broadcast."""
    return parameter.reshape([-1 if i == axis else 1 for i in range(rank)])


def _peaks(array: Array, axis: int) -> Array:
    peaks = np.abs(_rows(array, axis, array.shape[axis])).max(1)
    return np.where(peaks > 0, peaks, 1).astype(array.dtype)
