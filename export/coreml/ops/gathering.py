"""Elements picked by computed places. Indices count from the front, and truth travels as int32."""

import numpy as np

from edgewright.export.coreml.builder import MilBuilder, Value
from edgewright.export.coreml.lowerings import COREML


@COREML.lower("GatherElements", layout="axis")
def gather_elements(b: MilBuilder, x: Value, indices: Value, *, axis: int = 0) -> Value:
    """MIL wants all other axes as long as those of the indices: ONNX reads their first elements."""
    along, source = axis % len(x.shape), b.number(x)
    lengths = [x.shape[at] if at == along else n for at, n in enumerate(indices.shape)]
    if list(x.shape) != lengths:
        source = b.mb.slice_by_size(x=source, begin=[0] * len(lengths), size=lengths)
    counted = b.from_front(indices, x.shape[along])
    return b.typed(b.mb.gather_along_axis(x=source, indices=counted, axis=along, **b.unchecked()), x)


@COREML.lower("GatherND", layout="nchw")
def gather_nd(b: MilBuilder, x: Value, indices: Value, *, batch_dims: int = 0) -> Value:
    if batch_dims and b.opset < "iOS16":
        raise b.refusal("batch_dims need target iOS16 / watchOS9 or later")
    batch = {} if b.opset < "iOS16" else {"batch_dims": batch_dims}
    counted = b.from_front(indices, indexed_lengths(x, indices, batch_dims))
    return b.typed(b.mb.gather_nd(x=b.number(x), indices=counted, **batch, **b.unchecked()), x)


def indexed_lengths(x: Value, indices: Value, batch_dims: int = 0) -> "np.ndarray[tuple[int], np.dtype[np.int32]]":
    """The lengths of the axes that the last axis of the indices names, [indexed axes]."""
    return np.array(x.shape[batch_dims : batch_dims + indices.shape[-1]], np.int32)
