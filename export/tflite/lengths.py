"""Vectors of lengths that a file reads off its inputs while it runs.

shape (37, 8) at one length, (164, 8) at another   ⇒   GATHER(CONCATENATION(SHAPE(x), (8,)), (0, 2))
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.export.tflite.builder import Op
from edgewright.export.tflite.kernels import version_of
from edgewright.export.tflite.tensor import Tensor

INT32 = 2  # in the schema's TensorType

FIXED = (-1, 1, 0)
"""Stands for an axis whose length does not vary."""


class Lengths:
    """`inputs`: each input as it is at two lengths, and as the file has it."""

    def __init__(self, inputs: Sequence[tuple[Tensor, Tensor, Tensor]]) -> None:
        self._ops: list[Op] = []
        self._inputs = inputs
        self._shapes: dict[Tensor, Tensor] = {}

    def taken(self) -> list[Op]:
        """The operators made since it was last asked."""
        ops, self._ops = self._ops, []
        return ops

    def like(self, a: Tensor, b: Tensor) -> Tensor | None:
        """What computes a constant that is `a` at one length and `b` at the other; None where nothing says how."""
        x, y = a.data, b.data
        assert x is not None and y is not None
        if x.dtype == np.int32 and x.shape == y.shape and x.ndim < 2:
            return self._vector(x, y, a.name)
        if (
            a.quantization is not None
            or x.ndim != y.ndim
            or x.size == 0
            or (x != x.flat[0]).any()
            or (y != x.flat[0]).any()
        ):
            return None
        shape = self._vector(np.array(x.shape, np.int32), np.array(y.shape, np.int32), f"{a.name}/shape")
        value = Tensor(f"{a.name}/value", (), a.dtype, np.array(x.flat[0], a.dtype))
        return None if shape is None else self._emit("FILL", [shape, value], a.name, a.shape, a.dtype)

    def _vector(self, a: NDArray[Any], b: NDArray[Any], name: str) -> Tensor | None:
        """The lengths, where each that varies is that of an open axis of one input, times a number, plus another."""
        for x, y, given in self._inputs:
            axes = [self._axis(int(p), int(q), x.shape, y.shape) for p, q in zip(a.ravel(), b.ravel(), strict=True)]
            rows = [axis for axis in axes if axis is not None]
            if len(rows) == len(axes):
                picks = [len(x.shape) + place if axis < 0 else axis for place, (axis, _, _) in enumerate(rows)]
                linear = np.array([row[1:] for row in rows], np.int32).reshape(*a.shape, 2)
                return self._gather(given, a, np.array(picks, np.int32).reshape(a.shape), linear, name)
        return None

    def _axis(self, a: int, b: int, x: Sequence[int], y: Sequence[int]) -> tuple[int, int, int] | None:
        """(axis, factor, summand) that give a length; FIXED where both are the same."""
        if a == b:
            return FIXED
        for axis, (p, q) in enumerate(zip(x, y, strict=True)):
            if p != q and (b - a) % (q - p) == 0:
                factor = (b - a) // (q - p)
                return axis, factor, a - factor * p
        return None

    def _gather(
        self,
        given: Tensor,
        a: NDArray[Any],
        picks: NDArray[Any],
        linear: NDArray[Any],
        name: str,
    ) -> Tensor:
        """What `picks` chooses of the input's shape and `a`, times and plus what `linear` has on its last axis."""
        rank, (factors, summands) = len(given.shape), (linear[..., 0], linear[..., 1])
        if given not in self._shapes:
            options = {"outType": INT32}
            self._shapes[given] = self._emit("SHAPE", [given], f"{given.name}/shape", (rank,), options=options)
        known = self._constant(a.ravel(), f"{name}/known")
        plain = {"fusedActivationFunction": "NONE"}
        joined = self._emit(
            "CONCATENATION",
            [self._shapes[given], known],
            f"{name}/joined",
            (rank + a.size,),
            options={"axis": 0, **plain},
        )
        order = self._constant(picks, f"{name}/picks")
        made = self._emit("GATHER", [joined, order], f"{name}/lengths", a.shape, options={"axis": 0, "batchDims": 0})
        if (factors != 1).any():
            made = self._emit(
                "MUL", [made, self._constant(factors, f"{name}/by")], f"{name}/times", a.shape, options=plain
            )
        if summands.any():
            made = self._emit(
                "ADD", [made, self._constant(summands, f"{name}/to")], f"{name}/plus", a.shape, options=plain
            )
        return made

    def _constant(self, array: NDArray[Any], name: str) -> Tensor:
        return Tensor(name, array.shape, array.dtype, array)

    def _emit(
        self,
        code: str,
        inputs: Sequence[Tensor],
        name: str,
        shape: Sequence[int],
        dtype: Any = np.int32,
        options: dict[str, Any] | None = None,
    ) -> Tensor:
        made = Tensor(name, tuple(shape), np.dtype(dtype))
        given = options or {}
        self._ops.append(Op(code, version_of(code, inputs, made, given), tuple(inputs), (made,), given))
        return made
