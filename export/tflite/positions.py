"""ONNX indices as TFLite takes them: from the start, in int32, as rows of the data laid flat."""

from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from edgewright.export.tflite.broadcast import BROADCAST_RANK
from edgewright.export.tflite.node_builder import NodeBuilder
from edgewright.export.tflite.tensor import Tensor


def from_start(b: NodeBuilder, indices: Tensor, lengths: int | Sequence[int]) -> Tensor:
    """Indices that may count from the end, as int32 ones that do not; `lengths` are one, or one per last axis."""
    bound = np.asarray(lengths, np.int32)
    if indices.data is not None:
        picked = np.where(indices.data < 0, indices.data + bound, indices.data)
        return b.constant(picked.astype(np.int32), indices.name)
    narrow = to_int32(b, indices)
    if len(indices.shape) > BROADCAST_RANK:
        narrow = b.reshape(narrow, (prod(indices.shape[:-1]), indices.shape[-1]))
    limit = b.constant(bound, f"{b.y.name}/length")
    if b.micro:
        wrapped = _raised(b, narrow, limit)
    else:
        wrapped = b.emit("FLOOR_MOD", [narrow, limit], to=b.temp("from_start", narrow))
    return b.reshape(wrapped, indices.shape)


def _raised(b: NodeBuilder, indices: Tensor, lengths: Tensor) -> Tensor:
    """indices + lengths · (indices < 0): tflite-micro's FLOOR_MOD and SELECT_V2 take no int32."""
    zero, plain = b.scalar(0, indices, "zero"), {"fusedActivationFunction": "NONE"}
    negative = b.emit("LESS", [indices, zero], to=b.temp("negative", indices, dtype=np.bool_))
    kinds = {"inDataType": "BOOL", "outDataType": "INT32"}
    times = b.emit("CAST", [negative], kinds, to=b.temp("times", indices))
    raise_by = b.emit("MUL", [times, lengths], plain, to=b.temp("raise_by", indices))
    return b.emit("ADD", [indices, raise_by], plain, to=b.temp("from_start", indices))


def to_int32(b: NodeBuilder, x: Tensor) -> Tensor:
    """Indices and lengths fit into 32 bits: a tensor of TFLite has no axis that long."""
    if x.dtype == np.int32:
        return x
    if x.data is not None:
        return b.constant(x.data.astype(np.int32), x.name)
    kinds = {"inDataType": x.dtype.name.upper(), "outDataType": "INT32"}
    return b.emit("CAST", [x], kinds, to=b.temp("int32", x, dtype=np.int32))


def rows_of_elements(b: NodeBuilder, indices: Tensor, shape: Sequence[int], axis: int) -> Tensor:
    """[m]: where each element that `indices` picks along `axis` lies in the flat data of this shape."""
    strides = [prod(shape[place + 1 :]) for place in range(len(shape))]
    grid = np.indices(indices.shape, np.int32)
    others = [grid[place] * stride for place, stride in enumerate(strides) if place != axis]
    offsets = np.broadcast_to(np.int32(sum(others)), indices.shape).ravel()
    return _linear(b, from_start(b, _flat(b, indices), shape[axis]), np.int32(strides[axis]), offsets)


def rows_of_points(b: NodeBuilder, indices: Tensor, lengths: Sequence[int], batches: int = 1) -> Tensor:
    """[m]: which row each point of `indices` [..., k] names in data of shape [batches, *lengths, ...].

    The points are spread evenly over the batches.
    """
    count, depth = prod(indices.shape[:-1]), len(lengths)
    strides = np.array([prod(lengths[place + 1 :]) for place in range(depth)], np.int32)
    offsets = np.repeat(np.arange(batches, dtype=np.int32) * np.int32(prod(lengths)), count // batches)
    if depth == 1:
        return _linear(b, from_start(b, _flat(b, indices), lengths[0]), strides[0], offsets)
    points = from_start(b, _flat(b, indices, depth), lengths)
    if points.data is not None:
        return b.constant((points.data * strides).sum(axis=1, dtype=np.int32) + offsets, f"{b.y.name}/rows")
    weighted, axes = _linear(b, points, strides, np.int32(0)), b.integers([1], "last")
    summed = b.emit("SUM", [weighted, axes], {"keepDims": False}, to=b.temp("summed", weighted, (count,)))
    return _linear(b, summed, np.int32(1), offsets)


def _flat(b: NodeBuilder, indices: Tensor, *last: int) -> Tensor:
    shape = (prod(indices.shape) // max(prod(last), 1), *last)
    if indices.data is not None:
        return b.constant(indices.data.reshape(shape), indices.name)
    return b.reshape(indices, shape)


def _linear(
    b: NodeBuilder, x: Tensor, factor: NDArray[np.int32] | np.int32, offset: NDArray[np.int32] | np.int32
) -> Tensor:
    """factor · x + offset."""
    if x.data is not None:
        return b.constant(x.data * factor + offset, f"{b.y.name}/rows")
    plain = {"fusedActivationFunction": "NONE"}
    if np.any(factor != 1):
        factors = b.constant(np.asarray(factor), f"{b.y.name}/strides")
        x = b.emit("MUL", [x, factors], plain, to=b.temp("strided", x))
    if np.any(offset != 0):
        offsets = b.constant(np.asarray(offset), f"{b.y.name}/offsets")
        x = b.emit("ADD", [x, offsets], plain, to=b.temp("rows", x))
    return x
