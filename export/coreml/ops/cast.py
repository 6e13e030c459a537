"""Changes of type."""

import numpy as np

from edgewright.export.coreml.builder import MilBuilder, Value
from edgewright.export.coreml.lowerings import COREML

# Numbers of onnx.TensorProto.DataType.
REAL, INTEGERS, TRUTH = 1, (6, 7), 9


@COREML.lower("Cast")
def cast(b: MilBuilder, x: Value, *, saturate: int = 1, to: int) -> Value:  # noqa: ARG001 (for 8-bit floats)
    if to == REAL:
        return x if b.is_real(x) else b.mb.cast(x=x, dtype="fp16" if b.dtype is np.float16 else "fp32")
    if to in INTEGERS:
        return b.mb.cast(x=x, dtype="int32")
    if to == TRUTH:
        return b.mb.cast(x=x, dtype="bool")
    raise b.refusal(f"a cast to onnx type {to}")
