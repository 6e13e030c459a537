"""Places of the largest and smallest elements."""

from typing import TYPE_CHECKING

import numpy as np

from edgewright.export.coreml.builder import MilBuilder, Value
from edgewright.export.coreml.lowerings import COREML

if TYPE_CHECKING:
    import onnx_ir as ir

EXTREMES = {"ArgMax": "reduce_argmax", "ArgMin": "reduce_argmin"}


def _takes_first(node: "ir.Node") -> bool:
    return not node.attributes.get_int("select_last_index", 0)


@COREML.lower(*EXTREMES, layout="axis", fits=_takes_first)
def extreme(b: MilBuilder, x: Value, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Value:  # noqa: ARG001
    kind = {} if b.opset < "iOS17" else {"output_dtype": "int32"}
    return getattr(b.mb, EXTREMES[b.node.op_type])(x=b.number(x), axis=axis, keep_dims=bool(keepdims), **kind)


@COREML.lower("Hardmax", layout="axis")
def hardmax(b: MilBuilder, x: Value, *, axis: int = -1) -> Value:
    """1 at the first of the largest elements, else 0."""
    kind = {} if b.opset < "iOS17" else {"output_dtype": "int32"}
    first = b.mb.reduce_argmax(x=x, axis=axis, keep_dims=True, **kind)
    along = [-1 if at == axis % len(x.shape) else 1 for at in range(len(x.shape))]
    places = np.arange(x.shape[axis], dtype=np.int32).reshape(along)
    return b.mb.cast(x=b.mb.equal(x=first, y=places), dtype="fp16" if b.dtype is np.float16 else "fp32")


@COREML.lower("TopK", layout="axis")
def topk(
    b: MilBuilder,
    x: Value,
    k: Value,
    *,
    axis: int = -1,
    largest: int = 1,
    sorted: int = 1,  # noqa: A002, ARG001 (any order is allowed where it is 0)
) -> tuple[Value, ...]:
    [count] = b.integers(k, "k")
    if count > x.shape[axis]:
        raise b.refusal("k is more than there are elements")
    more: dict[str, bool | str] = {} if b.opset < "iOS16" else {"sort": True, "return_indices": True}
    if b.opset >= "iOS17":
        more["output_indices_dtype"] = "int32"
    values, places = b.mb.topk(x=x, k=np.int32(count), axis=axis, ascending=not largest, **more)
    return values, places
