"""Changes of type."""

import numpy as np

from edgewright.export.coreml.builder import MilBuilder, Value, element_type
from edgewright.export.coreml.lowerings import COREML

# Numbers of onnx.TensorProto.DataType.
REAL, HALF, TRUTH = 1, 10, 9
WHOLE = (6, 7)
SMALL = {2: (0, 2**8), 3: (-(2**7), 2**8), 4: (0, 2**16), 5: (-(2**15), 2**16)}
"""uint8, int8, uint16, int16: the lowest, and how many there are. MIL holds them in int32."""

ONNX_NAMES = {8: "strings", 11: "float64", 12: "uint32", 13: "uint64", 16: "bfloat16", 17: "float8", 22: "int4"}


@COREML.lower("Cast")
def cast(b: MilBuilder, x: Value, *, saturate: int = 1, to: int) -> Value:  # noqa: ARG001 (for 8-bit floats)
    if to == REAL:
        return x if b.is_real(x) else b.mb.cast(x=x, dtype="fp16" if b.dtype is np.float16 else "fp32")
    if to == HALF:
        return b.mb.cast(x=x, dtype="fp16")
    if to == TRUTH:
        return x if element_type(x) == "bool" else b.mb.not_equal(x=x, y=b.real(0.0) if b.is_real(x) else np.int32(0))
    if to not in WHOLE and to not in SMALL:
        raise b.refusal(f"a cast to {ONNX_NAMES.get(to, f'onnx type {to}')}, which no MIL program computes with")
    whole = x if element_type(x) == "int32" else b.mb.cast(x=x, dtype="int32")
    return whole if to in WHOLE or element_type(x) == "bool" else cut(b, whole, *SMALL[to])


def cut(b: MilBuilder, x: Value, lowest: int, count: int) -> Value:
    """int32 in fewer bits, as two's complement has it."""
    from_zero = x if not lowest else b.mb.sub(x=x, y=np.int32(lowest))
    whole = b.mb.mul(x=b.mb.floor_div(x=from_zero, y=np.int32(count)), y=np.int32(count))
    rest = b.mb.sub(x=from_zero, y=whole)
    return rest if not lowest else b.mb.add(x=rest, y=np.int32(lowest))
