"""Which constants of a MIL program are weights, how their output channels lie, and why others stay float."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.export.coreml.names import operations_in

WEIGHTS = {
    "conv": ("weight",),
    "conv_transpose": ("weight",),
    "linear": ("weight",),
    "matmul": ("x", "y"),
    "gather": ("x",),
    **dict.fromkeys(
        ("lstm", "gru", "rnn"), ("weight_ih", "weight_hh", "weight_ih_back", "weight_hh_back", "input_projection")
    ),
}
"""MIL operation → its parameters that may hold a compressed weight."""


@dataclass(frozen=True, eq=False)
class Weight:
    """A constant that only weighted operations read. `channel_axis` counts output channels."""

    var: Any
    name: str
    reader: str
    channel_axis: int
    depthwise: bool

    @property
    def array(self) -> NDArray[np.floating[Any]]:
        held: NDArray[np.floating[Any]] = self.var.val
        return held


Row = dict[str, Any]


def weights_of(block: Any, smallest: int) -> tuple[list[Weight], list[Row]]:
    """The weights of a block and of those inside, and the other constants of `smallest` elements or more, with reasons.

    Weights that are smaller are among the others.
    """
    found: list[Weight] = []
    others: list[Row] = []
    for var in _float_constants(block):
        readers = [(op, key) for op in var.child_ops for key, value in op.inputs.items() if value is var]
        odd = [op.op_type for op, key in readers if key not in WEIGHTS.get(op.op_type, ())]
        why = None
        if var.val.size < smallest:
            why = f"{var.val.size} weights, fewer than {smallest}" if readers and not odd else ""
        elif odd or not readers:
            why = f"no weight: {', '.join(sorted(set(odd)))} reads it" if odd else "an output of its block"
        elif len({_channel_axis(op, key) for op, key in readers}) > 1:
            why = "its readers count their channels along different axes"
        if why is None:
            op, key = readers[0]
            found.append(Weight(var, var.name, op.op_type, _channel_axis(op, key), _is_depthwise(op)))
        elif why:
            others.append({"name": var.name, "shape": list(var.shape), "why": why})
    return found, others


def _float_constants(block: Any) -> Iterator[Any]:
    """Of rank 2 at least, in order; those of inner blocks too."""
    for operation in operations_in(block):
        if operation.op_type == "const":
            var = operation.outputs[0]
            if isinstance(var.val, np.ndarray) and var.val.dtype.kind == "f" and var.val.ndim > 1:
                yield var


def _channel_axis(operation: Any, parameter: str) -> int:
    """Of the output channels; for `gather` of what is looked up."""
    rank = len(operation.inputs[parameter].shape)
    if operation.op_type == "conv_transpose":
        return 1
    if operation.op_type != "matmul":
        return 0
    transposed = operation.inputs[f"transpose_{parameter}"]
    flipped = transposed is not None and bool(transposed.val)
    return rank - 2 if (parameter == "x") != flipped else rank - 1


def _is_depthwise(operation: Any) -> bool:
    groups = operation.inputs.get("groups")
    if groups is None or groups.val is None or groups.val == 1:
        return False
    inputs = operation.inputs["weight"].shape[0 if operation.op_type == "conv_transpose" else 1]
    return bool(inputs == (groups.val if operation.op_type == "conv_transpose" else 1))
