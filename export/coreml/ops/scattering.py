"""Elements put, or added and so on, at computed places."""

import numpy as np

from edgewright.export.coreml.builder import MilBuilder, Value
from edgewright.export.coreml.lowerings import COREML
from edgewright.export.coreml.ops.gathering import indexed_lengths

MODES = {"none": "update", "add": "add", "mul": "mul", "max": "max", "min": "min"}


@COREML.lower("ScatterElements", layout="axis")
def scatter_elements(
    b: MilBuilder, x: Value, indices: Value, updates: Value, *, axis: int = 0, reduction: str = "none"
) -> Value:
    """MIL wants all other axes as long as those of the data; where they are shorter every place is spelled out."""
    along, lengths = axis % len(x.shape), list(indices.shape)
    counted, source, new = b.from_front(indices, x.shape[along]), b.number(x), b.number(updates)
    if [n for at, n in enumerate(x.shape) if at != along] == [n for at, n in enumerate(lengths) if at != along]:
        made = b.mb.scatter_along_axis(
            data=source, indices=counted, updates=new, axis=along, mode=MODES[reduction], **b.unchecked()
        )
        return b.typed(made, x)
    grids = np.indices(lengths, np.int32)
    if isinstance(counted, np.ndarray):
        grids[along] = counted
        places: Value = np.ascontiguousarray(np.moveaxis(grids, 0, -1)).reshape(-1, len(lengths))
    else:
        flat = b.mb.reshape(x=counted, shape=[-1, 1])
        columns = [flat if at == along else grids[at].reshape(-1, 1) for at in range(len(lengths))]
        places = b.mb.concat(values=columns, axis=1, interleave=False)
    rows = new.reshape(-1) if isinstance(new, np.ndarray) else b.mb.reshape(x=new, shape=[-1])
    return b.typed(
        b.mb.scatter_nd(data=source, indices=places, updates=rows, mode=MODES[reduction], **b.unchecked()), x
    )


@COREML.lower("ScatterND", layout="nchw")
def scatter_nd(b: MilBuilder, x: Value, indices: Value, updates: Value, *, reduction: str = "none") -> Value:
    counted = b.from_front(indices, indexed_lengths(x, indices))
    made = b.mb.scatter_nd(
        data=b.number(x), indices=counted, updates=b.number(updates), mode=MODES[reduction], **b.unchecked()
    )
    return b.typed(made, x)
