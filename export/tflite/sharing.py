"""Tensors that LiteRT would write over while they are still read.

Its planner lets some kernels write over an operand that nobody else reads, and RESHAPE share the memory of its operand.
It counts the readers of the tensor that held the memory first, not of all that share it: with s = a + b written over
a, r = RESHAPE(s) and r · c, the product is written over s, whoever reads s later. tflite-runtime 2.14 and LiteRT 2.3
both do; XNNPACK has memory of its own, and tflite-micro's RESHAPE copies.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgewright.export.tflite.tensor import Tensor

if TYPE_CHECKING:
    from edgewright.export.tflite.builder import Op

WRITES_OVER = frozenset({"ADD", "SUB", "MUL", "DIV", "SOFTMAX", "DYNAMIC_UPDATE_SLICE"})
"""Kernels that say so: `inplace_operator` of their registrations in LiteRT's `kernels` folder."""


def overwritten(ops: Sequence["Op"], outputs: Sequence[Tensor]) -> set["Op"]:
    """The RESHAPEs whose result is written over before the last reader of what they share it with."""
    readers: dict[Tensor, list[int]] = defaultdict(list)
    base: dict[Tensor, Tensor] = {}
    for place, op in enumerate(ops):
        for tensor in {tensor for tensor in op.inputs if tensor is not None}:
            readers[tensor].append(place)
        if op.code == "RESHAPE" and op.inputs[0] is not None:
            base[op.outputs[0]] = base.get(op.inputs[0], op.inputs[0])
    last: dict[Tensor, dict[Tensor, int]] = defaultdict(dict)  # by what holds the memory, by who shares it
    for tensor in {*base, *base.values()}:
        last[base.get(tensor, tensor)][tensor] = max(readers[tensor], default=-1)
    writers = {output: op.code for op in ops for output in op.outputs if op.code in WRITES_OVER}

    def is_doomed(op: "Op") -> bool:
        made = op.outputs[0]
        if op.code != "RESHAPE" or base.get(made) not in writers or len(readers[made]) != 1:
            return False
        [place] = readers[made]
        over = ops[place].code in WRITES_OVER and ops[place].outputs[0] not in outputs
        return over and any(read >= place for tensor, read in last[base[made]].items() if tensor is not made)

    return {op for op in ops if is_doomed(op)}
