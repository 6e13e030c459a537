"""Operators that pick elements by indices."""

from math import prod

from edgewright.export.tflite.node_builder import NodeBuilder
from edgewright.export.tflite.positions import from_start, rows_of_elements, rows_of_points
from edgewright.export.tflite.rules import TFLITE
from edgewright.export.tflite.tensor import Tensor


@TFLITE.lower("Gather", layout="axis")
def gather(b: NodeBuilder, x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    held = b.axis(axis)
    return b.emit("GATHER", [x, from_start(b, indices, x.shape[held])], {"axis": held, "batchDims": 0})


@TFLITE.lower("GatherElements", layout="nchw")
def gather_elements(b: NodeBuilder, x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    rows = rows_of_elements(b, indices, x.shape, axis % b.rank)
    return _gather_rows(b, b.reshape(x, (prod(x.shape),)), rows)


@TFLITE.lower("GatherND", layout="nchw")
def gather_nd(b: NodeBuilder, x: Tensor, indices: Tensor, *, batch_dims: int = 0) -> Tensor:
    """Points [..., k] name rows of the data, whose leading axes are laid flat."""
    batches, last = prod(x.shape[:batch_dims]), batch_dims + indices.shape[-1]
    lengths, row = x.shape[batch_dims:last], x.shape[last:]
    rows = rows_of_points(b, indices, lengths, batches)
    return _gather_rows(b, b.reshape(x, (batches * prod(lengths), *row)), rows)


def _gather_rows(b: NodeBuilder, data: Tensor, rows: Tensor) -> Tensor:
    picked = b.temp("picked", b.y, (*rows.shape, *data.shape[1:]))
    b.emit("GATHER", [data, rows], {"axis": 0, "batchDims": 0}, to=picked)
    return b.reshape(picked, b.y.shape)
