"""Gather and scatter. Negative numbers count from the end up to iOS 16; iOS 17's forms refuse them.

The forms of iOS 17 are those that have `validate_indices`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgewright.runtimes.mil.operators import OPERATION
from edgewright.runtimes.mil.parameters import from_numpy

Tensor = torch.Tensor
Array = NDArray[Any]
MODES: dict[str, Callable[..., Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "max": np.maximum, "min": np.minimum,
}  # fmt: skip


@OPERATION("gather")
def gather(x: Tensor, indices: Tensor, axis: Any = 0, batch_dims: Any = 0, validate_indices: Any = None) -> Tensor:
    _check(indices, validate_indices)
    count, where = int(batch_dims), int(axis) % x.ndim
    return from_numpy(_batched(x.numpy(), indices.numpy(), count, lambda a, i: np.take(a, i, where - count)))


@OPERATION("gather_nd")
def gather_nd(x: Tensor, indices: Tensor, batch_dims: Any = 0, validate_indices: Any = None) -> Tensor:
    _check(indices, validate_indices)

    def taken(array: Array, places: Array) -> Array:
        return np.asarray(array[tuple(np.moveaxis(places, -1, 0))])

    return from_numpy(_batched(x.numpy(), indices.numpy(), int(batch_dims), taken))


@OPERATION("gather_along_axis")
def gather_along_axis(x: Tensor, indices: Tensor, axis: Any = 0, validate_indices: Any = None) -> Tensor:
    _check(indices, validate_indices)
    return x[_grid(indices, int(axis) % x.ndim)]


@OPERATION("scatter")
def scatter(
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    axis: Any = 0,
    mode: str = "add",
    validate_indices: Any = None,
) -> Tensor:
    _check(indices, validate_indices)
    where = int(axis) % data.ndim
    rows = np.moveaxis(updates.numpy(), range(where, where + indices.ndim), range(indices.ndim))
    found = _scattered(np.moveaxis(data.numpy(), where, 0), indices.numpy(), rows, mode)
    return from_numpy(np.moveaxis(found, 0, where))


@OPERATION("scatter_along_axis")
def scatter_along_axis(
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    axis: Any = 0,
    mode: str = "add",
    validate_indices: Any = None,
) -> Tensor:
    _check(indices, validate_indices)
    grid = tuple(each.numpy() for each in _grid(indices, int(axis) % data.ndim))
    return from_numpy(_scattered(data.numpy(), grid, updates.numpy(), mode))


@OPERATION("scatter_nd")
def scatter_nd(
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    mode: str = "add",
    validate_indices: Any = None,
) -> Tensor:
    _check(indices, validate_indices)
    return from_numpy(_scattered(data.numpy(), tuple(np.moveaxis(indices.numpy(), -1, 0)), updates.numpy(), mode))


def _check(indices: Tensor, validate_indices: Any) -> None:
    if validate_indices is not None and bool((indices < 0).any()):
        raise ValueError(f"index {int(indices.min())}: from iOS 17 on negative ones are not defined")


def _batched(x: Array, indices: Array, count: int, function: Callable[[Array, Array], Array]) -> Array:
    """The function on each pair of rows of the first `count` axes."""
    if count == 0:
        return function(x, indices)
    lead = x.shape[:count]
    rows = zip(x.reshape(-1, *x.shape[count:]), indices.reshape(-1, *indices.shape[count:]), strict=True)
    found = np.stack([function(a, i) for a, i in rows])
    return found.reshape(*lead, *found.shape[1:])


def _grid(indices: Tensor, axis: int) -> tuple[Tensor, ...]:
    """The place of each value of `indices` in every axis; along `axis` the index itself."""
    places = torch.meshgrid(*(torch.arange(n) for n in indices.shape), indexing="ij")
    return tuple(indices.long() if i == axis else place for i, place in enumerate(places))


def _scattered(data: Array, where: Any, updates: Array, mode: str) -> Array:
    found = np.array(data)
    if mode == "update":
        found[where] = updates
    else:
        MODES[mode].at(found, where, updates)  # type: ignore[attr-defined]
    return found
