"""Resize: by one operation where MIL samples exactly the points that ONNX does, else axis by axis."""

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.export.coreml.builder import MilBuilder, Value
from edgewright.export.coreml.lowerings import COREML
from edgewright.export.coreml.ops.selection import gathered
from edgewright.export.coreml.windows import Ints
from edgewright.export.onnx.resampling import resampled_axes, weights

# For a whole factor both repeat every element; other combinations shift by a pixel somewhere.
REPEATING = {("asymmetric", "floor"), ("half_pixel", "round_prefer_floor"), ("half_pixel", "round_prefer_ceil")}


@COREML.lower("Resize", layout="nchw")
def resize(
    b: MilBuilder,
    x: Value,
    roi: Value = None,
    scales: Value = None,
    sizes: Value = None,
    *,
    antialias: int = 0,
    axes: Ints = None,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> Value:
    scale, size, region = given(b, scales), given(b, sizes), given(b, roi)
    transformation = coordinate_transformation_mode
    whole = not antialias and keep_aspect_ratio_policy == "stretch" and b.is_real(x) and not exclude_outside
    made = enlarged(b, x, scale, transformation, mode, nearest_mode) if whole else None
    if made is not None:
        return made
    found = resampled_axes(x.shape, b.shape(), scale, size, region, axes, transformation, keep_aspect_ratio_policy)
    made, outside = x, np.zeros((), bool)
    for axis, one in found.items():
        outside = outside | one.outside.reshape([-1 if at == axis else 1 for at in range(len(x.shape))])
        if mode == "nearest":
            made = gathered(b, made, one.indices(nearest_mode), axis)
        else:
            matrix = weights(one, mode, nearest_mode, cubic_coeff_a, bool(antialias), bool(exclude_outside))
            made = mixed(b, made, axis, matrix)
    if not outside.any():
        return made
    value = b.real(extrapolation_value) if b.is_real(x) else np.int32(extrapolation_value)
    return b.chosen(np.array(np.broadcast_to(outside, b.shape())), value, made)


def given(b: MilBuilder, value: Value) -> NDArray[Any] | None:
    """The array of a parameter; None where it is absent or, as ONNX also says that, empty."""
    if value is None or tuple(value.shape) == (0,):
        return None
    return b.constant(value, "size, scale or region").astype(np.float32 if b.is_real(value) else np.int64)


def mixed(b: MilBuilder, x: Value, axis: int, matrix: NDArray[np.float32]) -> Value:
    """matrix · x along one axis, whatever lies before and behind it."""
    if not b.is_real(x):
        raise b.refusal("interpolation of integers; cast them to float first")
    before, length, behind = prod(x.shape[:axis]), x.shape[axis], prod(x.shape[axis + 1 :])
    shape = [*x.shape[:axis], len(matrix), *x.shape[axis + 1 :]]
    if behind == 1:
        rows = b.mb.reshape(x=x, shape=[before, length])
        return b.mb.reshape(x=b.mb.linear(x=rows, weight=b.real(matrix)), shape=shape)
    product = b.mb.matmul(
        x=b.real(matrix[None]),
        y=b.mb.reshape(x=x, shape=[before, length, behind]),
        transpose_x=False,
        transpose_y=False,
    )
    return b.mb.reshape(x=product, shape=shape)


def enlarged(
    b: MilBuilder, x: Value, scales: NDArray[Any] | None, transformation: str, mode: str, nearest_mode: str
) -> Value:
    """An image by whole factors; None where MIL's operations read other points."""
    before, after = list(x.shape), b.shape()
    if len(before) != 4 or before[:2] != after[:2]:
        return None
    factors = [big / small for big, small in zip(after[2:], before[2:])]
    if any(f % 1 for f in factors) or (scales is not None and list(scales[-2:]) != factors):
        return None
    if mode == "nearest" and (transformation, nearest_mode) in REPEATING:
        return b.mb.upsample_nearest_neighbor(
            x=x, scale_factor_height=int(factors[0]), scale_factor_width=int(factors[1])
        )
    corners = {"align_corners": True, "half_pixel": False, "pytorch_half_pixel": False}
    if mode != "linear" or transformation not in corners or 1 in after[2:]:
        return None
    aligned = corners[transformation]
    by = {"scale_factor_height": factors[0], "scale_factor_width": factors[1]}
    if b.opset < "iOS16":
        return b.mb.upsample_bilinear(x=x, align_corners=aligned, **by)
    return b.mb.upsample_bilinear(x=x, align_corners=aligned, half_pixel_centers=not aligned, **by)
