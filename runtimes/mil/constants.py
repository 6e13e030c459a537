"""Values that a package stores → arrays: in place or in the weight file, whole bytes or fewer bits."""

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.runtimes.dtypes import bits
from edgewright.runtimes.read.mil_proto import Weights, dtype_of, shape_of

Array = NDArray[Any]


def decode(value: Any, weights: Weights) -> Array | str | list[str]:
    """A MIL value as an array of the declared type (int4 and the like in a byte each), a string, or several."""
    declared = value.type.listType.type if value.type.WhichOneof("type") == "listType" else value.type
    kind = dtype_of(declared.tensorType.dataType)
    if value.WhichOneof("value") == "immediateValue" and value.immediateValue.WhichOneof("value") == "list":
        return [str(decode(item, weights)) for item in value.immediateValue.list.values]
    shape = [length or 0 for length in shape_of(declared.tensorType)]
    if kind == "string":
        words = [str(word) for word in value.immediateValue.tensor.strings.values]
        return words if shape else words[0]
    raw = weights.content(value)
    if raw is None:
        return np.asarray(weights.numbers(value), kind).reshape(shape)
    if bits(kind) < 8:
        return unpacked(raw, bits(kind), prod(shape), signed=kind.startswith("int")).reshape(shape)
    return raw.view(kind).reshape(shape)


def unpacked(raw: NDArray[np.uint8], width: int, count: int, *, signed: bool = False) -> Array:
    """Codes of `width` bits, the lowest bit first and across bytes, as uint8 or int8."""
    rows = np.unpackbits(raw, count=count * width, bitorder="little").reshape(count, width)
    codes = np.packbits(rows, axis=1, bitorder="little").reshape(count)
    return ((codes.view(np.int8) << (8 - width)) >> (8 - width)) if signed else codes
