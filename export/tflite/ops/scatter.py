"""Operators that write updates into data by indices. TFLite's SCATTER_ND starts from zeros and sums what meets."""

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.export.tflite.node_builder import NodeBuilder
from edgewright.export.tflite.positions import rows_of_elements, rows_of_points
from edgewright.export.tflite.rules import TFLITE
from edgewright.export.tflite.tensor import Tensor

COMBINE = {"mul": "MUL", "max": "MAXIMUM", "min": "MINIMUM"}
REDUCE = {"mul": "REDUCE_PROD", "max": "REDUCE_MAX", "min": "REDUCE_MIN"}
MOST_ROUNDS = 8
"""How often constant indices may name one row before all rows are compared at once."""
MOST_COMPARED = 2**20
"""Elements of the table that compares every row with every computed index."""


@TFLITE.lower("ScatterElements", layout="nchw")
def scatter_elements(
    b: NodeBuilder, x: Tensor, indices: Tensor, updates: Tensor, *, axis: int = 0, reduction: str = "none"
) -> Tensor:
    rows = rows_of_elements(b, indices, x.shape, axis % b.rank)
    return _scatter(b, b.reshape(x, (prod(x.shape), 1)), rows, b.reshape(updates, (*rows.shape, 1)), reduction)


@TFLITE.lower("ScatterND", layout="nchw")
def scatter_nd(b: NodeBuilder, x: Tensor, indices: Tensor, updates: Tensor, *, reduction: str = "none") -> Tensor:
    """Points [..., k] name rows of the data, whose leading axes are laid flat."""
    lengths, width = x.shape[: indices.shape[-1]], prod(x.shape[indices.shape[-1] :])
    rows = rows_of_points(b, indices, lengths)
    data = b.reshape(x, (prod(lengths), width))
    return _scatter(b, data, rows, b.reshape(updates, (*rows.shape, width)), reduction)


def _scatter(b: NodeBuilder, data: Tensor, rows: Tensor, updates: Tensor, reduction: str) -> Tensor:
    """Data [p, w], rows [m], updates [m, w]."""
    if 0 in updates.shape:
        return b.reshape(data, b.y.shape)
    if reduction == "add":
        written = _summed(b, rows, updates, data.shape)
        result = b.emit("ADD", [data, written], {"fusedActivationFunction": "NONE"}, to=b.temp("added", data))
    elif rows.data is None:
        result = _replaced(b, data, rows, updates) if reduction == "none" else _met(b, data, rows, updates, reduction)
    elif reduction == "none":
        result = _placed(b, data, rows.data, updates)
    else:
        result = _combined(b, data, rows.data, updates, reduction)
    return b.reshape(result, b.y.shape)


def _summed(b: NodeBuilder, rows: Tensor, updates: Tensor, shape: tuple[int, ...]) -> Tensor:
    points = b.reshape(rows, (*rows.shape, 1)) if rows.data is None else b.integers(rows.data[:, None], "points")
    return b.emit("SCATTER_ND", [points, updates, b.integers(shape, "size")], to=b.temp("written", updates, shape))


def _replaced(b: NodeBuilder, data: Tensor, rows: Tensor, updates: Tensor) -> Tensor:
    """Computed rows, each named once, as ONNX asks for."""
    ones = b.constant(np.ones((*rows.shape, 1), np.bool_), f"{b.y.name}/ones")
    mask = _summed(b, rows, ones, (data.shape[0], 1))
    written = _summed(b, rows, updates, data.shape)
    return b.emit("SELECT_V2", [mask, written, data], to=b.temp("replaced", data))


def _placed(b: NodeBuilder, data: Tensor, rows: NDArray[np.int32], updates: Tensor) -> Tensor:
    """Each row of the result is one of the data or of the updates: no arithmetic. The last update of a row stays."""
    source = np.arange(data.shape[0], dtype=np.int32)
    source[rows] = data.shape[0] + np.arange(len(rows), dtype=np.int32)
    both = b.temp("both", data, (data.shape[0] + len(rows), data.shape[1]))
    b.emit("CONCATENATION", [data, updates], {"axis": 0, "fusedActivationFunction": "NONE"}, to=both)
    return _rows(b, both, source)


def _combined(b: NodeBuilder, data: Tensor, rows: NDArray[np.int32], updates: Tensor, reduction: str) -> Tensor:
    """Constant rows: first the updates that name a row for the first time, then those for the second time, ..."""
    turn = np.array([np.count_nonzero(rows[:place] == row) for place, row in enumerate(rows)])
    if turn.max() >= MOST_ROUNDS:
        return _met(b, data, b.constant(rows, f"{b.y.name}/rows"), updates, reduction)
    options = {"fusedActivationFunction": "NONE"} if reduction == "mul" else None
    for number in range(turn.max() + 1):
        now = np.flatnonzero(turn == number).astype(np.int32)
        given = updates if len(now) == len(rows) else _rows(b, updates, now)
        met = b.emit(COMBINE[reduction], [_rows(b, data, rows[now]), given], options, to=b.temp("met", given))
        data = _placed(b, data, rows[now], met)
    return data


def _met(b: NodeBuilder, data: Tensor, rows: Tensor, updates: Tensor, reduction: str) -> Tensor:
    """Every row against every update: [p, m, w] holds the update where it names the row, else what changes nothing."""
    compared = (data.shape[0], *updates.shape)
    if prod(compared) > MOST_COMPARED:
        b.refuse(
            f"reduction {reduction} of {updates.shape[0]} computed indices into {data.shape[0]} rows: "
            f"more than {MOST_COMPARED} elements to compare; make the indices constant or use reduction add"
        )
    every = b.integers(np.arange(data.shape[0])[:, None], "every")
    named = b.emit(
        "EQUAL", [every, b.reshape(rows, (1, *rows.shape))], to=b.temp("named", data, compared[:2], dtype=np.bool_)
    )
    neutral = b.constant(np.array(_neutral(reduction, data.dtype), data.dtype), f"{b.y.name}/neutral")
    operands = [b.reshape(named, (*compared[:2], 1)), b.reshape(updates, (1, *updates.shape)), neutral]
    table = b.emit("SELECT_V2", operands, to=b.temp("table", data, compared))
    best = b.temp("best", data)
    b.emit(REDUCE[reduction], [table, b.integers([1], "axes")], {"keepDims": False}, to=best)
    options = {"fusedActivationFunction": "NONE"} if reduction == "mul" else None
    return b.emit(COMBINE[reduction], [data, best], options, to=b.temp("combined", data))


def _rows(b: NodeBuilder, data: Tensor, rows: NDArray[np.int32]) -> Tensor:
    picked = b.temp("rows", data, (len(rows), data.shape[1]))
    return b.emit("GATHER", [data, b.integers(rows, "row_numbers")], {"axis": 0, "batchDims": 0}, to=picked)


def _neutral(reduction: str, dtype: "np.dtype[Any]") -> float:
    if reduction == "mul":
        return 1
    if dtype.kind == "f":
        return -np.inf if reduction == "max" else np.inf
    return np.iinfo(dtype).min if reduction == "max" else np.iinfo(dtype).max
