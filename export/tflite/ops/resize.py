"""Resizing: by one kernel where it reads the source positions that ONNX names, else axis by axis; DepthToSpace and its
inverse."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgewright.export.onnx.decompose.spatial import convolution_before
from edgewright.export.onnx.resampling import Axis, resampled_axes, unchanged, weights
from edgewright.export.tflite.layout import LAST
from edgewright.export.tflite.node_builder import NodeBuilder
from edgewright.export.tflite.resampling import kernel_options
from edgewright.export.tflite.rules import TFLITE
from edgewright.export.tflite.tensor import Tensor

if TYPE_CHECKING:
    import onnx_ir as ir


@TFLITE.lower("Resize", layout="nhwc")
def resize(
    b: NodeBuilder,
    x: Tensor,
    roi: Tensor | None = None,
    scales: Tensor | None = None,
    sizes: Tensor | None = None,
    *,
    antialias: int = 0,
    axes: Sequence[int] | None = None,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> Tensor:
    held = [b.axis(axis) for axis in range(b.rank)]
    shape, out = ([tensor.shape[at] for at in held] for tensor in (x, b.y))
    scale, size, region = (_parameter(b, tensor) for tensor in (scales, sizes, roi))
    transformation, policy = coordinate_transformation_mode, keep_aspect_ratio_policy
    changed = resampled_axes(shape, out, scale, size, region, axes, transformation, policy)
    found = {held[axis]: one for axis, one in changed.items()}
    options = None if antialias or exclude_outside else _whole(b, x, found, mode, nearest_mode)
    if options is not None:
        code = "RESIZE_NEAREST_NEIGHBOR" if mode == "nearest" else "RESIZE_BILINEAR"
        return b.emit(code, [x, b.integers(b.y.shape[1:3], "size")], options)
    outside = {at: one for at, one in found.items() if one.outside.any()}
    last = b.temp("inside", b.y) if outside and extrapolation_value else b.y
    for number, (at, one) in enumerate(found.items(), 1):
        lengths = (*x.shape[:at], b.y.shape[at], *x.shape[at + 1 :])
        to = last if number == len(found) else b.temp(f"resampled{at}", x, lengths)
        if mode == "nearest" and not outside:
            x = _picked(b, x, at, one.indices(nearest_mode), to)
        else:
            matrix = weights(one, mode, nearest_mode, cubic_coeff_a, bool(antialias), bool(exclude_outside))
            x = _mixed(b, x, at, matrix, to)
    if last is not b.y:
        return b.emit("ADD", [x, _around(b, outside, extrapolation_value)], {"fusedActivationFunction": "NONE"})
    return x if found else b.reshape(x, b.y.shape, b.y)


def _parameter(b: NodeBuilder, tensor: Tensor | None) -> NDArray[Any] | None:
    if tensor is None or tensor.shape == (0,):
        return None
    return b.need_constant(tensor, "a size, scale or region")


def _whole(
    b: NodeBuilder, x: Tensor, found: Mapping[int, Axis], mode: str, nearest_mode: str
) -> Mapping[str, bool] | None:
    """The options of the image kernel that does it all at once."""
    if b.read_form != LAST or len(x.shape) != 4 or not set(found) <= {1, 2}:
        return None
    if x.dtype not in (np.float32, np.int8):  # of whole numbers, every runtime knows the GATHERs
        return None
    whole = [found.get(at, unchanged(x.shape[at])) for at in (1, 2)]
    return kernel_options(whole, mode, nearest_mode)


def _picked(b: NodeBuilder, x: Tensor, at: int, indices: NDArray[np.int32], to: Tensor) -> Tensor:
    return b.emit("GATHER", [x, b.integers(indices, f"places{at}")], {"axis": at, "batchDims": 0}, to=to)


def _mixed(b: NodeBuilder, x: Tensor, at: int, matrix: NDArray[np.float32], to: Tensor) -> Tensor:
    """matrix · x along one axis, whatever lies before and behind it: no transpose."""
    b.need_float()
    if x.dtype != np.float32:
        b.refuse(f"interpolation of {x.dtype.name}; cast it to float first")
    before, behind = prod(x.shape[:at]), prod(x.shape[at + 1 :])
    name = f"{b.y.name}/weights{at}"
    if behind == 1:
        shape: tuple[int, ...] = (before, len(matrix))
        inputs = [b.reshape(x, (before, x.shape[at])), b.constant(matrix, name), None]
        code, options = "FULLY_CONNECTED", {"keepNumDims": False, "fusedActivationFunction": "NONE"}
    else:
        shape = (before, len(matrix), behind)
        inputs = [b.constant(matrix[None], name), b.reshape(x, (before, x.shape[at], behind))]
        code, options = "BATCH_MATMUL", {"adjX": False, "adjY": False}
    if shape == to.shape:
        return b.emit(code, inputs, options, to=to)
    return b.reshape(b.emit(code, inputs, options, to=b.temp(f"mixed{at}", x, shape)), to.shape, to)


def _around(b: NodeBuilder, outside: Mapping[int, Axis], value: float) -> Tensor:
    """`value` wherever one of the axes is read outside, else 0."""
    rank = len(b.y.shape)
    masks = [one.outside.reshape([-1 if axis == at else 1 for axis in range(rank)]) for at, one in outside.items()]
    mask = masks[0]
    for other in masks[1:]:
        mask = mask | other
    return b.constant(np.where(mask, np.float32(value), np.float32(0)), f"{b.y.name}/extrapolated")


def _keeps_its_order(node: "ir.Node") -> bool:
    return node.attributes.get_string("mode", "DCR") == "DCR" or convolution_before(node) is None


@TFLITE.lower("DepthToSpace", layout="nhwc", fits=_keeps_its_order)
def depth_to_space(b: NodeBuilder, x: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    _check_element_type(b, x)
    if mode == "CRD":  # TFLite's kernel has the block outside of the channels
        order = np.arange(x.shape[3]).reshape(-1, blocksize * blocksize).T.reshape(-1)
        x = _picked(b, x, 3, order, b.temp("reordered", x))
    return b.emit("DEPTH_TO_SPACE", [x], {"blockSize": blocksize})


@TFLITE.lower("SpaceToDepth", layout="nhwc")
def space_to_depth(b: NodeBuilder, x: Tensor, *, blocksize: int) -> Tensor:
    _check_element_type(b, x)
    return b.emit("SPACE_TO_DEPTH", [x], {"blockSize": blocksize})


def _check_element_type(b: NodeBuilder, x: Tensor) -> None:
    if x.dtype == np.bool_:
        b.refuse("booleans; cast them to int32")
