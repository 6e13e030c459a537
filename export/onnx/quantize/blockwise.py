"""Weights whose grid changes along what is summed over: a scale for each block of it."""

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


def store_blocks(weight: Weight, block: int, low: int, high: int, kind: Any, *, symmetric: bool) -> None:
    """Codes of `kind` from `low` to `high` with scales of least error, and zero points unless `symmetric`; in place."""
    axis = weight.input_axis
    last = np.moveaxis(weight.array, axis, -1)
    groups = last.reshape(-1, block)
    scales, zeros = (each[:, None] for each in least_error_grids(groups, low, high, symmetric=symmetric))
    codes = encode_groups(groups.astype(np.float64), scales, zeros, low, high)

    def placed(each: NDArray[Any]) -> NDArray[Any]:
        return np.moveaxis(each.reshape(*last.shape[:-1], -1), -1, axis)

    store(weight, placed(codes).astype(kind), placed(scales), axis, block, placed(zeros).astype(kind))
