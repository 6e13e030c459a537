"""Weights whose grid changes along what is summed over: a scale for each block of it."""

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.export.onnx.quantize.least_squares import encode_groups, least_error_grids
from edgewright.export.onnx.quantize.weights import RECURRENT, Weight, store

SHORTEST = 8
"""Of a block: below, its float32 scale takes more than half of what int8 would."""


def block_of(weight: Weight, most: int) -> int:
    """The largest divisor of the row's length up to `most`; 0 where it is too short, or no operator takes blocks."""
    length = weight.array.shape[weight.input_axis]
    fitting = max(n for n in range(1, min(most, length) + 1) if length % n == 0)
    return 0 if fitting < SHORTEST or weight.readers[0][0].op_type in RECURRENT else fitting


def store_blocks(
    weight: Weight, block: int, low: int, high: int, kind: Any, *, symmetric: bool, across_kernel: bool
) -> None:
    """Codes of `kind` from `low` to `high` with scales of least error, and zero points unless `symmetric`; in place.

    `across_kernel`: a block is `block` input channels at all places of the kernel. Scales are written for each place,
    as ONNX wants them; a file that holds one for all finds them equal.
    """
    last = np.moveaxis(weight.array, weight.input_axis, -1)
    blocks = last.reshape(*last.shape[:-1], -1, block)
    shared = tuple(range(1, last.ndim - 1)) if across_kernel else ()  # the axes of the kernel: [out, kernel…, n, block]
    members = (*shared, blocks.ndim - 1)
    kept = [axis for axis in range(blocks.ndim) if axis not in members]
    groups = blocks.transpose(*kept, *members).reshape(-1, prod(blocks.shape[axis] for axis in members))
    grids = least_error_grids(groups, low, high, symmetric=symmetric)
    lengths = [1 if axis in members else length for axis, length in enumerate(blocks.shape)]
    scales, zeros = (np.broadcast_to(each.reshape(lengths), (*blocks.shape[:-1], 1)) for each in grids)
    codes = encode_groups(blocks.astype(np.float64), scales, zeros, low, high)

    def placed(each: NDArray[Any]) -> NDArray[Any]:
        return np.ascontiguousarray(np.moveaxis(each.reshape(*last.shape[:-1], -1), -1, weight.input_axis))

    store(weight, placed(codes).astype(kind), placed(scales), weight.input_axis, block, placed(zeros).astype(kind))
