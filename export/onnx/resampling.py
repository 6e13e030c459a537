"""Where Resize reads along each axis, and with which weights, as ONNX says."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.float64]

NEAREST: dict[str, Callable[[Positions], Positions]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}
REACH = {"linear": 1, "cubic": 2}


@dataclass(frozen=True)
class Axis:
    """One resized axis of `size` elements: the positions it is read at, [outputs]; those marked `outside` give the
    extrapolation value instead."""

    size: int
    factor: float
    positions: Positions
    outside: NDArray[np.bool_]

    def indices(self, nearest_mode: str) -> NDArray[np.int32]:
        return np.clip(NEAREST[nearest_mode](self.positions), 0, self.size - 1).astype(np.int32)


def resampled_axes(
    shape: Sequence[int],
    out: Sequence[int],
    scales: NDArray[np.float32] | None,
    sizes: NDArray[np.int64] | None,
    roi: NDArray[np.float32] | None,
    axes: Sequence[int] | None,
    transformation: str,
    policy: str,
) -> dict[int, Axis]:
    """By ONNX axis, those that Resize changes. Absent parameters are None."""
    where = [axis % len(shape) for axis in (range(len(shape)) if axes is None else axes)]
    factors: dict[int, float] = dict(zip(where, [] if scales is None else scales.tolist()))
    if sizes is not None:
        factors = {axis: size / shape[axis] for axis, size in zip(where, sizes.tolist())}
        if policy != "stretch":
            common = (min if policy == "not_larger" else max)(factors.values())
            factors = dict.fromkeys(factors, common)
    crop = transformation == "tf_crop_and_resize" and roi is not None
    ends = dict.fromkeys(where, (0.0, 1.0))
    if crop and roi is not None:
        ends = {axis: (roi[i], roi[i + len(where)]) for i, axis in enumerate(where)}
    made = {
        axis: _axis(shape[axis], out[axis], factors.get(axis, out[axis] / shape[axis]), ends[axis], transformation)
        for axis in where
    }
    return {axis: one for axis, one in made.items() if not _changes_nothing(one)}


def _changes_nothing(axis: Axis) -> bool:
    return axis.factor == 1 and not axis.outside.any() and np.array_equal(axis.positions, np.arange(axis.size))


def _axis(size: int, out: int, factor: float, ends: tuple[float, float], transformation: str) -> Axis:
    at, resized = np.arange(out, dtype=np.float64), factor * size  # not rounded, as ONNX has it
    outside = np.zeros(out, bool)
    match transformation:
        case "asymmetric":
            positions = at / factor
        case "align_corners":
            positions = at * (size - 1) / (resized - 1) if resized != 1 else np.zeros(out)
        case "tf_crop_and_resize":
            start, end = ends
            span = (end - start) * (size - 1)
            positions = start * (size - 1) + (at * span / (resized - 1) if resized != 1 else span / 2 + 0 * at)
            outside = (positions < 0) | (positions > size - 1)
        case "half_pixel_symmetric":
            single = np.float32(factor)  # as onnxruntime: its floor and ceil part whole numbers by the last bit
            offset = np.float32(size / 2) * (1 - np.float32(out) / (single * np.float32(size)))
            positions = (offset + (at.astype(np.float32) + np.float32(0.5)) / single - np.float32(0.5)).astype(
                np.float64
            )
        case "pytorch_half_pixel" if out == 1:
            positions = np.zeros(out)
        case _:
            positions = (at + 0.5) / factor - 0.5
    return Axis(size, factor, positions, outside)


def unchanged(size: int) -> Axis:
    return Axis(size, 1.0, np.arange(size, dtype=np.float64), np.zeros(size, bool))


def weights(
    axis: Axis, mode: str, nearest_mode: str, cubic_a: float, antialias: bool, exclude_outside: bool
) -> NDArray[np.float32]:
    """The matrix [outputs, size] that resamples an axis; the rows of positions outside are zero."""
    rows = np.arange(len(axis.positions))
    matrix = np.zeros((len(rows), axis.size))
    if mode == "nearest":
        matrix[rows, axis.indices(nearest_mode)] = 1
    else:
        shrink = min(axis.factor, 1.0) if antialias else 1.0
        reach = int(np.ceil(REACH[mode] / shrink))
        taps = np.floor(axis.positions).astype(int)[:, None] + np.arange(1 - reach, reach + 1)
        distance = np.abs(taps - axis.positions[:, None]) * shrink
        given = np.maximum(1 - distance, 0) if mode == "linear" else _cubic(distance, cubic_a)
        if exclude_outside:
            given = np.where((taps < 0) | (taps >= axis.size), 0, given)
        if exclude_outside or antialias:
            given = given / given.sum(axis=1, keepdims=True)
        np.add.at(matrix, (rows[:, None], np.clip(taps, 0, axis.size - 1)), given)
    matrix[axis.outside] = 0
    return matrix.astype(np.float32)


def _cubic(x: Positions, a: float) -> Positions:
    """Keys' kernel (Cubic convolution interpolation, 1981), of distances."""
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0))
