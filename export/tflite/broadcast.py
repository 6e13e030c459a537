"""Operators on operands of different shapes: TFLite's kernels broadcast up to four axes."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from edgewright.export.tflite.node_builder import NodeBuilder
from edgewright.export.tflite.tensor import Tensor

BROADCAST_RANK = 4
"""Broadcasting kernels of every runtime go this far."""
SAME_SHAPE_RANK = 6
"""XNNPACK's tensors have no more axes."""
BROADCAST_TO_RANK = 8

Shape = tuple[int, ...]


def emit_broadcast(
    b: NodeBuilder,
    code: str,
    operands: Sequence[Tensor],
    options: Mapping[str, Any] | None = None,
    to: Tensor | None = None,
) -> Tensor:
    """`code` on operands of any rank, into `to` (default: the node's output).

    Axes that the same operands share are merged, which leaves four or fewer of most shapes; the rest is repeated to the
    full shape first.
    """
    to = b.y if to is None else to
    same = {operand.shape for operand in operands} == {to.shape}
    if len(to.shape) <= (SAME_SHAPE_RANK if same else BROADCAST_RANK):
        return b.emit(code, operands, options, to=to)
    shapes = _merged([operand.shape for operand in operands], to.shape)
    full = tuple(np.broadcast_shapes(*shapes))
    if len(full) > BROADCAST_TO_RANK:
        b.refuse(
            f"broadcasting along {len(full)} alternating axes; reshape the operands to {BROADCAST_TO_RANK} or fewer"
        )
    given = [_reshaped(b, operand, shape) for operand, shape in zip(operands, shapes)]
    if len(full) > BROADCAST_RANK:
        given = [_reshaped(b, _repeated(b, operand, full), (prod(full),)) for operand in given]
        full = (prod(full),)
    return b.reshape(b.emit(code, given, options, to=b.temp("merged", to, full)), to.shape, to)


def _merged(shapes: Sequence[Shape], full: Shape) -> list[Shape]:
    """The shapes with neighbouring axes merged that each operand has in full, or each repeats."""
    aligned = [(1,) * (len(full) - len(shape)) + shape for shape in shapes]
    merged: list[list[int]] = [[] for _ in shapes]
    before: tuple[bool, ...] | None = None
    for axis, length in enumerate(full):
        if length == 1:
            continue
        has = tuple(shape[axis] == length for shape in aligned)
        for row, shape in zip(merged, aligned):
            if has == before:
                row[-1] *= shape[axis]
            else:
                row.append(shape[axis])
        before = has
    return [tuple(row) for row in merged]


def _reshaped(b: NodeBuilder, tensor: Tensor, shape: Shape) -> Tensor:
    if tensor.data is not None:
        return b.constant(tensor.data.reshape(shape), tensor.name, tensor.quantization)
    return b.reshape(tensor, shape)


def _repeated(b: NodeBuilder, tensor: Tensor, shape: Shape) -> Tensor:
    if tensor.shape == shape:
        return tensor
    if tensor.data is not None:
        return b.constant(np.broadcast_to(tensor.data, shape), tensor.name, tensor.quantization)
    return b.emit("BROADCAST_TO", [tensor, b.integers(shape, "shape")], to=b.temp("repeated", tensor, shape))
