"""Which constants float16 and int32 can hold."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

UNBOUNDED = 3e38
"""From here on a float32 constant means infinity, such as the open end of a Clip."""

SMALLEST_FLOAT16 = 2.0**-24


def survives_float16(array: NDArray[Any]) -> bool:
    """Whether rounding to float16 costs no entry more than 2⁻⁹ of the largest one: a quarter step of int8.

    Overflow always does (float16 goes to 65504), and so does a tensor whose largest entry is below 1.5e-5.
    """
    if array.dtype.kind != "f" or array.size == 0:
        return True
    single = array.astype(np.float32)  # numpy 2 would read the bound as float16 where the array is
    finite = np.where(np.abs(single) < UNBOUNDED, single, np.float32(0))
    error = np.abs(rounded(finite, np.float16).astype(np.float32) - finite)
    return bool(error.max() <= np.abs(finite).max() * 2.0**-9)


def rounded(array: NDArray[Any], dtype: type[np.floating[Any]]) -> NDArray[Any]:
    """Floats in another precision; what overflows becomes infinite."""
    with np.errstate(over="ignore"):
        return array.astype(dtype)


def int32_of(array: NDArray[Any], *, saturate: bool) -> NDArray[np.int32] | None:
    """An int64 array as int32, None when it does not fit; with `saturate` the ends stand for "to the end"."""
    limits = np.iinfo(np.int32)
    if not saturate and array.size and (array.min() < limits.min or array.max() > limits.max):
        return None
    return np.asarray(np.clip(array, limits.min, limits.max), np.int32)
