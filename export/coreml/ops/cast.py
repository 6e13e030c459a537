"""Changes of type."""

import numpy as np
import onnx_ir as ir

from edgewright.export.coreml.builder import MilBuilder, Value
from edgewright.export.coreml.lowerings import COREML

REAL = (ir.DataType.FLOAT,)
INTEGER = (ir.DataType.INT32, ir.DataType.INT64)


@COREML.lower("Cast")
def cast(b: MilBuilder, x: Value, *, saturate: int = 1, to: int) -> Value:  # noqa: ARG001 (for 8-bit floats)
    wanted = ir.DataType(to)
    if wanted in REAL:
        return x if b.is_real(x) else b.mb.cast(x=x, dtype="fp16" if b.dtype is np.float16 else "fp32")
    if wanted in INTEGER:
        return b.mb.cast(x=x, dtype="int32")
    if wanted is ir.DataType.BOOL:
        return b.mb.cast(x=x, dtype="bool")
    b.refuse(f"a cast to {wanted.name}")
