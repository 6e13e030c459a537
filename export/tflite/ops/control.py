"""If, Loop and Scan as IF and WHILE: subgraphs of the file, run by the runtime itself.

`captures.py` made every computed value from around an inner graph one of the node's operands.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgewright.export.onnx.passes.control_flow import ends_early
from edgewright.export.tflite.layout import shape_of
from edgewright.export.tflite.node_builder import NodeBuilder
from edgewright.export.tflite.repetition import Column, Repetition
from edgewright.export.tflite.rules import TFLITE
from edgewright.export.tflite.tensor import Tensor

if TYPE_CHECKING:
    import onnx_ir as ir

INT32_MAX = 2**31 - 1


@TFLITE.lower("If", layout="nchw")
def if_(
    b: NodeBuilder, cond: Tensor, *captured: Tensor, else_branch: "ir.Graph", then_branch: "ir.Graph"
) -> Sequence[Tensor]:
    options = {}
    for name, branch in (("then", then_branch), ("else", else_branch)):
        inner = b.inner(name)
        inputs = [inner.like(tensor, tensor.name) for tensor in captured]
        outputs = inner.lower(branch, inputs)
        if [output.shape for output in outputs] != [y.shape for y in b.ys]:
            b.refuse("its branches give different shapes")
        options[f"{name}SubgraphIndex"] = inner.subgraph(inputs, outputs)
    b.emit("IF", [cond, *captured], options, to=b.ys)
    return b.ys


@TFLITE.lower("Loop", layout="nchw")
def loop(
    b: NodeBuilder, m: Tensor | None = None, cond: Tensor | None = None, *states: Tensor, body: "ir.Graph"
) -> Sequence[Tensor]:
    never = cond is not None and cond.data is not None and not cond.data.item()
    asks = ends_early(body) or (cond is not None and cond.data is None)
    trips = b.constant(np.array(0, np.int32), f"{b.y.name}/trips") if never else _trips(b, m)
    flag = None
    if asks and not never:
        flag = b.constant(np.array(True), f"{b.y.name}/go") if cond is None else b.reshape(cond, ())
    if trips is None and flag is None:
        b.refuse("it has neither a number of steps nor a condition: it never ends")
    stacked = b.ys[len(states) :]
    if stacked and (flag is not None or trips is None or trips.data is None):
        b.refuse("it stacks what its steps give, and how many there are is computed; make that a constant")

    def step(inner: NodeBuilder, at: Tensor, go: Tensor | None, held: list[Tensor], _: list[Tensor]) -> list[Tensor]:
        number, keep = (shape_of(value) for value in body.inputs[:2])
        wide = inner.emit(
            "CAST", [at], {"inDataType": "INT32", "outDataType": "INT64"}, to=inner.tensor("number", (), np.int64)
        )
        told = inner.constant(np.ones(keep, np.bool_), "go") if go is None else inner.reshape(go, keep)
        goes_on, *results = inner.lower(body, [inner.reshape(wide, number), told, *held])
        return results if go is None else [inner.reshape(goes_on, ()), *results]

    kept = {k for k in range(len(states)) if body.outputs[1 + k] is body.inputs[2 + k]}
    return Repetition(b, trips, flag, states, kept, (), [Column(y) for y in stacked], step).write()


def _trips(b: NodeBuilder, m: Tensor | None) -> Tensor | None:
    """The number of steps as an int32 of rank 0."""
    if m is None:
        return None
    if m.data is not None:
        return b.constant(np.array(np.clip(m.data.item(), 0, INT32_MAX), np.int32), m.name)
    narrow = b.tensor("trips", m.shape, np.int32)
    return b.reshape(b.emit("CAST", [m], {"inDataType": "INT64", "outDataType": "INT32"}, to=narrow), ())


@TFLITE.lower("Scan", layout="nchw")
def scan(
    b: NodeBuilder,
    *operands: Tensor,
    body: "ir.Graph",
    num_scan_inputs: int,
    scan_input_axes: Sequence[int] | None = None,
    scan_input_directions: Sequence[int] | None = None,
    scan_output_axes: Sequence[int] | None = None,
    scan_output_directions: Sequence[int] | None = None,
) -> Sequence[Tensor]:
    count = len(operands) - num_scan_inputs
    states, sequences = operands[:count], operands[count:]
    read = _columns(sequences, scan_input_axes, scan_input_directions)
    made = _columns(b.ys[count:], scan_output_axes, scan_output_directions)
    trips = b.constant(np.array(read[0].length, np.int32), f"{b.y.name}/trips")

    def step(inner: NodeBuilder, at: Tensor, go: Tensor | None, held: list[Tensor], rows: list[Tensor]) -> list[Tensor]:  # noqa: ARG001
        return inner.lower(body, [*held, *rows])

    kept = {k for k in range(count) if body.outputs[k] is body.inputs[k]}
    return Repetition(b, trips, None, states, kept, read, made, step).write()


def _columns(tensors: Sequence[Tensor], axes: Sequence[int] | None, directions: Sequence[int] | None) -> list[Column]:
    zeros = [0] * len(tensors)
    return [
        Column(tensor, axis % len(tensor.shape), bool(backwards))
        for tensor, axis, backwards in zip(tensors, axes or zeros, directions or zeros, strict=True)
    ]
