"""Sizes of the dtypes that a model file may hold, by name: float16, int8, uint4, float8_e4m3fn, …"""

import re
from collections.abc import Sequence
from math import prod


def bits(dtype: str) -> int:
    """Bits of one value; 0 for what has no fixed size (strings, handles). A bool takes a byte."""
    if dtype == "bool":
        return 8
    found = re.fullmatch(r"(?:b?float|u?int|complex)(\d+)\w*", dtype)
    return int(found[1]) if found else 0


def elements(shape: Sequence[int | None]) -> int:
    """How many values; a length that is not fixed counts as 1."""
    return prod(1 if length is None else length for length in shape)


def dense_bytes(shape: Sequence[int | None], dtype: str) -> int:
    """Bytes of all values without padding."""
    return -(-elements(shape) * bits(dtype) // 8)
