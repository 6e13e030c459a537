"""Reductions over axes; without axes over all."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from edgewright.runtimes.mil.operators import OPERATION, Function
from edgewright.runtimes.mil.parameters import from_numpy, ints
from edgewright.runtimes.mil.sums import Sums

Tensor = torch.Tensor


def reduction(function: Callable[[Tensor, list[int], bool], Tensor]) -> Function:
    return lambda x, axes=None, keep_dims=False: function(x, _axes(x, axes), bool(keep_dims))


def summing(before: Callable[[Tensor], Tensor], after: Callable[[Tensor], Tensor]) -> Function:
    def reduced(x: Tensor, sums: Sums, axes: Any = None, keep_dims: Any = False) -> Tensor:
        return after(sums.total(before(x), _axes(x, axes), keep=bool(keep_dims)))

    return reduced


def _axes(x: Tensor, axes: Any) -> list[int]:
    return list(range(x.ndim)) if axes is None else ints(axes)


def _prod(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return from_numpy(np.prod(x.numpy(), axis=tuple(axes), keepdims=keep, dtype=x.numpy().dtype))


def _same(x: Tensor) -> Tensor:
    return x


OPERATION.rows(
    {
        "reduce_sum": summing(_same, _same),
        "reduce_l1_norm": summing(torch.abs, _same),
        "reduce_sum_square": summing(torch.square, _same),
        "reduce_l2_norm": summing(torch.square, torch.sqrt),
        "reduce_log_sum": summing(_same, torch.log),
        "reduce_log_sum_exp": reduction(torch.logsumexp),
        "reduce_max": reduction(torch.amax),
        "reduce_min": reduction(torch.amin),
        "reduce_prod": reduction(_prod),
    }
)


@OPERATION("reduce_mean")
def mean(x: Tensor, sums: Sums, axes: Any = None, keep_dims: Any = False) -> Tensor:
    where = _axes(x, axes)
    count = int(np.prod([x.shape[axis] for axis in where]))
    return sums.total(x, where, keep=bool(keep_dims)) / count


@OPERATION("reduce_argmax")
def argmax(x: Tensor, axis: Any = -1, keep_dims: Any = False, output_dtype: str = "int32") -> Tensor:  # noqa: ARG001
    """uint16 is held as int32."""
    return _first(x.numpy(), int(axis), bool(keep_dims), np.argmax)


@OPERATION("reduce_argmin")
def argmin(x: Tensor, axis: Any = -1, keep_dims: Any = False, output_dtype: str = "int32") -> Tensor:  # noqa: ARG001
    return _first(x.numpy(), int(axis), bool(keep_dims), np.argmin)


def _first(x: Any, axis: int, keep: bool, function: Callable[..., Any]) -> Tensor:
    found = function(x, axis=axis, keepdims=keep)
    return from_numpy(np.asarray(found, np.int32))
