"""Where TFLite's kernels read for a Resize, and which of them does it as ONNX says."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgewright.export.lowering import attributes
from edgewright.export.onnx.graph import constant, shape_of
from edgewright.export.onnx.resampling import Axis, Positions, resampled_axes, unchanged

if TYPE_CHECKING:
    import onnx_ir as ir

KERNELS: tuple[Mapping[str, bool], ...] = (
    {"alignCorners": False, "halfPixelCenters": True},
    {"alignCorners": False, "halfPixelCenters": False},
    {"alignCorners": True, "halfPixelCenters": False},
)
POSITION_TOLERANCE = 1e-5  # of a source element; kernels compute positions in float32


def computes_in_int8(node: "ir.Node") -> bool:
    """Whether a Resize moves codes, or is what RESIZE_BILINEAR does; other weights have no int8 kernel."""
    shape, out, given = shape_of(node.inputs[0]), shape_of(node.outputs[0]), attributes(node)
    if shape is None or out is None:
        return False
    roi, scales, sizes = (_given(node, index) for index in (1, 2, 3))
    transformation = given.get("coordinate_transformation_mode", "half_pixel")
    policy = given.get("keep_aspect_ratio_policy", "stretch")
    axes = resampled_axes(shape, out, scales, sizes, roi, given.get("axes"), transformation, policy)
    mode = given.get("mode", "nearest")
    if mode == "nearest":
        return not any(axis.outside.any() for axis in axes.values())
    plain = not given.get("antialias", 0) and not given.get("exclude_outside", 0)
    image = len(shape) in (3, 4) and set(axes) <= set(range(2, len(shape)))
    whole = [axes.get(axis, unchanged(shape[axis])) for axis in range(2, len(shape))]
    return plain and image and kernel_options(whole, mode, "") is not None


def _given(node: "ir.Node", index: int) -> NDArray[Any] | None:
    values = constant(node, index)
    return None if values is None or values.size == 0 else values


def kernel_options(axes: Sequence[Axis], mode: str, nearest_mode: str) -> Mapping[str, bool] | None:
    """With which options TFLite's kernel reads both axes of an image where ONNX does; None where with none."""
    if mode == "cubic" or any(axis.outside.any() for axis in axes):
        return None
    nearest = mode == "nearest"
    wanted = [axis.indices(nearest_mode) if nearest else np.clip(axis.positions, 0, axis.size - 1) for axis in axes]
    for options in KERNELS:
        read = [_kernel_positions(axis.size, len(axis.positions), nearest=nearest, **options) for axis in axes]
        if all(np.allclose(one, other, rtol=0, atol=POSITION_TOLERANCE) for one, other in zip(wanted, read)):
            return options
    return None


def _kernel_positions(size: int, out: int, *, nearest: bool, alignCorners: bool, halfPixelCenters: bool) -> Positions:  # noqa: N803
    """Where TFLite's kernels read: nearest takes the element below, or the nearest one with aligned corners."""
    at = np.arange(out, dtype=np.float64)
    ratio = (size - 1) / (out - 1) if alignCorners and out > 1 else size / out
    if nearest:
        positions = (at + (0.5 if halfPixelCenters else 0.0)) * ratio
        positions = np.floor(positions + 0.5) if alignCorners else np.floor(positions)
    else:
        positions = (at + 0.5) * ratio - 0.5 if halfPixelCenters else at * ratio
    return np.clip(positions, 0, size - 1)
