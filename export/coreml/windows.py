"""Sliding windows: ONNX's ways to say padding → explicit begins and ends per spatial dimension."""

from collections.abc import Sequence
from functools import reduce

import numpy as np
from numpy.typing import NDArray

Ints = Sequence[int] | None


def explicit_padding(
    auto_pad: str,
    pads: Ints,
    lengths: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> tuple[list[int], list[int]]:
    """SAME_UPPER puts the odd element at the end, SAME_LOWER at the begin; both give ceil(length / stride) outputs."""
    spatial = len(lengths)
    if not auto_pad.startswith("SAME"):
        given = list(pads or (0,) * 2 * spatial) if auto_pad != "VALID" else [0] * 2 * spatial
        return given[:spatial], given[spatial:]
    totals = [
        max(0, (-(-n // s) - 1) * s + (k - 1) * d + 1 - n) for n, k, s, d in zip(lengths, kernel, strides, dilations)
    ]
    return halves(totals, lower=auto_pad == "SAME_LOWER")


def transposed_padding(
    pads: Ints,
    outputs: Sequence[int],
    lengths: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    adjustment: Sequence[int],
    *,
    lower: bool,
) -> tuple[list[int], list[int]]:
    """What to cut from the full transposed convolution so that `outputs` remain; `pads` None: spread the cut.

    Output padding (`adjustment`) lengthens the full one at its end before the cut is spread. A negative end means that
    there is nothing to cut from.
    """
    full = [(n - 1) * s + (k - 1) * d + 1 for n, k, s, d in zip(lengths, kernel, strides, dilations)]
    cuts = [have - want for have, want in zip(full, outputs)]
    if pads is None:
        totals = [max(cut + more, 0) for cut, more in zip(cuts, adjustment)]
        begins, _ = halves(totals, lower=lower)
    else:
        begins = list(pads[: len(full)])
    return begins, [cut - begin for cut, begin in zip(cuts, begins)]


def halves(totals: Sequence[int], *, lower: bool) -> tuple[list[int], list[int]]:
    small, large = [n // 2 for n in totals], [n - n // 2 for n in totals]
    return (large, small) if lower else (small, large)


def ceil_excess(
    outputs: Sequence[int],
    lengths: Sequence[int],
    begins: Sequence[int],
    ends: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
) -> list[int]:
    """How far the last window of each dimension reaches beyond the padded input (ceil_mode)."""
    rows = zip(outputs, lengths, begins, ends, kernel, strides)
    return [max(0, (o - 1) * s + k - n - begin - end) for o, n, begin, end, k, s in rows]


def windows_counted(
    outputs: Sequence[int],
    lengths: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    begins: Sequence[int],
    ends: Sequence[int],
    *,
    padding: bool,
) -> NDArray[np.float64]:
    """How many elements each window averages, [outputs]; with `padding` those of the padding too."""
    along = []
    for o, n, k, s, d, begin, end in zip(outputs, lengths, kernel, strides, dilations, begins, ends):
        at = np.arange(o)[:, None] * s - begin + np.arange(k) * d
        low, high = (-begin, n + end) if padding else (0, n)
        along.append(((at >= low) & (at < high)).sum(axis=1).astype(np.float64))
    return reduce(np.multiply.outer, along)
