"""Operators that look for the largest and smallest, and what is made of an index."""

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from edgewright.export.tflite.broadcast import BROADCAST_RANK
from edgewright.export.tflite.node_builder import NodeBuilder
from edgewright.export.tflite.ops.reduce import as_onnx_orders, in_onnx_order
from edgewright.export.tflite.positions import to_int32
from edgewright.export.tflite.rules import TFLITE
from edgewright.export.tflite.tensor import Tensor

if TYPE_CHECKING:
    import onnx_ir as ir

EXTREMES = {"ArgMax": "ARG_MAX", "ArgMin": "ARG_MIN"}


def _finds_the_first(node: "ir.Node") -> bool:
    """ARG_MAX and ARG_MIN give the first of equal ones, and take no int64."""
    value = node.inputs[0]
    wide = value is None or value.dtype is None or value.dtype.name == "INT64"
    return not wide and not node.attributes.get_int("select_last_index", 0)


@TFLITE.lower(*EXTREMES, layout="axis", fits=_finds_the_first)
def extreme(b: NodeBuilder, x: Tensor, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Tensor:
    if select_last_index or x.dtype == np.int64:
        b.refuse("the last of equal elements, or elements of type int64")
    held, place = b.axis(axis), b.constant(np.array(b.axis(axis), np.int32), f"{b.y.name}/axis")
    shape = (*x.shape[:held], *x.shape[held + 1 :])
    direct = shape == b.y.shape and in_onnx_order(b, {axis % b.rank})
    found = b.y if direct else b.temp("found", b.y, shape)
    b.emit(EXTREMES[b.op_type], [x, place], {"outputType": "INT64"}, to=found)
    if direct:
        return found
    if keepdims:
        return b.reshape(found, b.y.shape, b.y)
    if len(x.shape) > b.rank:  # N×C×L held as N×1×L×C
        found = b.reshape(found, (*shape[:1], *shape[2:]))
    return as_onnx_orders(b, found, {axis % b.rank})


@TFLITE.lower("TopK", layout="axis")
def top_k(
    b: NodeBuilder,
    x: Tensor,
    k: Tensor,
    *,
    axis: int = -1,
    largest: int = 1,
    sorted: int = 1,  # noqa: A002, ARG001  TOPK_V2 always sorts, the first of equal ones first
) -> Sequence[Tensor]:
    count, held = int(b.need_constant(k, "k").item()), b.axis(axis)
    order = [place for place in range(len(x.shape)) if place != held] + [held]
    back = np.argsort(order).tolist()
    x = b.transpose(x, order)
    lengths = x.shape[:-1]
    if b.rank > BROADCAST_RANK:
        x = b.reshape(x, (prod(lengths), x.shape[-1]))
    x = x if largest else _mirrored(b, x, b.temp("mirrored", x))
    shape = (*x.shape[:-1], count)
    values, places = b.temp("largest", x, shape), b.temp("places", x, shape, dtype=np.int32)
    b.emit("TOPK_V2", [x, b.constant(np.array(count, np.int32), f"{b.y.name}/k")], to=[values, places])
    values = values if largest else _mirrored(b, values, b.temp("smallest", values))
    places, values = (b.transpose(b.reshape(found, (*lengths, count)), back) for found in (places, values))
    kinds = {"inDataType": "INT32", "outDataType": "INT64"}
    return values, b.emit("CAST", [places], kinds, to=b.ys[1])


def _mirrored(b: NodeBuilder, x: Tensor, to: Tensor) -> Tensor:
    """In falling order what was in rising: -x, of integers -1 - x, which never overflows. Twice, it is x again."""
    if x.dtype.kind == "f":
        return b.emit("NEG", [x], to=to)
    return b.emit("SUB", [b.scalar(-1, x, "minus_one"), x], {"fusedActivationFunction": "NONE"}, to=to)


@TFLITE.lower("OneHot", layout="nchw")
def one_hot(b: NodeBuilder, indices: Tensor, depth: Tensor, values: Tensor, *, axis: int = -1) -> Tensor:
    """ONE_HOT leaves out what is out of range, so only indices that count from the end are moved."""
    length = int(b.need_constant(depth, "depth").item())
    flat = indices if len(indices.shape) <= BROADCAST_RANK else b.reshape(indices, (prod(indices.shape),))
    places = b.reshape(_counted_from_start(b, to_int32(b, flat), length), indices.shape)
    off, on = (_value(b, values, number) for number in range(2))
    return _one_hot(b, places, length, on, off, axis % (b.rank + 1))


def _counted_from_start(b: NodeBuilder, indices: Tensor, length: int) -> Tensor:
    if indices.data is not None:
        return b.constant(np.where(indices.data < 0, indices.data + np.int32(length), indices.data), indices.name)
    zero, depth = b.scalar(0, indices, "zero"), b.scalar(length, indices, "depth")
    negative = b.emit("LESS", [indices, zero], to=b.temp("negative", indices, dtype=np.bool_))
    moved = b.emit("ADD", [indices, depth], {"fusedActivationFunction": "NONE"}, to=b.temp("moved", indices))
    return b.emit("SELECT_V2", [negative, moved, indices], to=b.temp("from_start", indices))


def _value(b: NodeBuilder, values: Tensor, number: int) -> Tensor:
    if values.data is not None:
        return b.constant(values.data[number], f"{values.name}/{number}")
    operands = [values, b.integers([number], "begin"), b.integers([1], "size")]
    return b.reshape(b.emit("SLICE", operands, to=b.temp("value", values, (1,))), ())


@TFLITE.lower("Hardmax", layout="axis")
def hardmax(b: NodeBuilder, x: Tensor, *, axis: int = -1) -> Tensor:
    """1 at the first of the largest elements."""
    held = b.axis(axis)
    shape = (*x.shape[:held], *x.shape[held + 1 :])
    place = b.constant(np.array(held, np.int32), f"{b.y.name}/axis")
    found = b.temp("found", x, shape, dtype=np.int32)
    b.emit("ARG_MAX", [x, place], {"outputType": "INT32"}, to=found)
    return _one_hot(b, found, x.shape[held], b.scalar(1, x, "on"), b.scalar(0, x, "off"), held)


def _one_hot(b: NodeBuilder, indices: Tensor, length: int, on: Tensor, off: Tensor, axis: int) -> Tensor:
    depth = b.constant(np.array(length, np.int32), f"{b.y.name}/depth")
    return b.emit("ONE_HOT", [indices, depth, on, off], {"axis": axis})
