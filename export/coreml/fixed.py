"""Outputs that hold the same on every call: Core ML gives what operations compute, never a bare constant."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.errors import BadModel
from edgewright.export.coreml.numbers import int32_of

MIL_NAMES = {"float32": "fp32", "float16": "fp16", "int32": "int32"}


def held(array: NDArray[Any], dtype: str, output: str) -> NDArray[Any]:
    """The constant as a Core ML file gives it, rank 1 at least. Raises BadModel for integers beyond 32 bits."""
    given = np.atleast_1d(array)
    exact = given.astype(dtype) if dtype.startswith("float") else int32_of(given, saturate=False)
    if exact is None:
        raise BadModel(f"output {output!r} is a constant with integers beyond 32 bits, Core ML has none")
    return exact


def computed(mb: Any, array: NDArray[Any], x: Any) -> Any:
    """array → array + (x₀ < x₀), which is 0 whatever the input `x` holds, and which no pass folds."""
    rank = len(x.shape)
    first = mb.slice_by_size(x=x, begin=[0] * rank, size=[1] * rank)
    nothing = mb.cast(x=mb.less(x=first, y=first), dtype=MIL_NAMES[array.dtype.name])
    return mb.add(x=array, y=mb.reshape(x=nothing, shape=[1]))
