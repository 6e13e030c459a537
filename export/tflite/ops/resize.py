"""Resizing, where a kernel reads exactly the source positions that ONNX names; DepthToSpace and its inverse."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from edgewright.export.tflite.node_builder import NodeBuilder
from edgewright.export.tflite.rules import TFLITE
from edgewright.export.tflite.tensor import Tensor

Positions = NDArray[np.float64]

NEAREST: dict[str, Callable[[Positions], Positions]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}
KERNELS = ({"alignCorners": False, "halfPixelCenters": True}, {"alignCorners": False, "halfPixelCenters": False},
           {"alignCorners": True, "halfPixelCenters": False})  # fmt: skip
POSITION_TOLERANCE = 1e-5  # of a source element; kernels compute positions in float32


@TFLITE.lower("Resize", layout="nhwc")
def resize(
    b: NodeBuilder,
    x: Tensor,
    roi: Tensor | None = None,  # noqa: ARG001
    scales: Tensor | None = None,
    sizes: Tensor | None = None,  # noqa: ARG001
    *,
    antialias: int = 0,
    axes: Sequence[int] | None = None,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,  # noqa: ARG001
    exclude_outside: int = 0,  # noqa: ARG001
    extrapolation_value: float = 0.0,  # noqa: ARG001
    keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> Tensor:
    if len(x.shape) != 4 or x.shape[0] != b.y.shape[0] or x.shape[3] != b.y.shape[3]:
        b.refuse("only the two last axes of an image can be resized")
    if mode not in ("nearest", "linear") or antialias or keep_aspect_ratio_policy != "stretch":
        b.refuse(f"mode {mode}{' with antialias' if antialias else ''}, policy {keep_aspect_ratio_policy}")
    if scales is not None and scales.shape == (0,):
        scales = None
    factors = _factors(b, x, scales, axes)
    wanted = [
        _onnx_positions(b, x.shape[axis], b.y.shape[axis], factors[axis - 1], coordinate_transformation_mode)
        for axis in (1, 2)
    ]
    if mode == "nearest":
        wanted = [NEAREST[nearest_mode](positions) for positions in wanted]
    wanted = [np.clip(positions, 0, x.shape[axis] - 1) for axis, positions in zip((1, 2), wanted)]
    code = "RESIZE_BILINEAR" if mode == "linear" else "RESIZE_NEAREST_NEIGHBOR"
    for options in KERNELS:
        read = [
            _kernel_positions(x.shape[axis], b.y.shape[axis], nearest=mode == "nearest", **options) for axis in (1, 2)
        ]
        if all(np.allclose(one, other, rtol=0, atol=POSITION_TOLERANCE) for one, other in zip(wanted, read)):
            return b.emit(code, [x, b.integers(b.y.shape[1:3], "size")], options)
    return b.refuse(f"{mode} with {coordinate_transformation_mode}: no kernel reads the same source positions")


def _factors(b: NodeBuilder, x: Tensor, scales: Tensor | None, axes: Sequence[int] | None) -> list[float]:
    """Height and width factors: as given, else out / in."""
    found = {axis: b.y.shape[axis - 1] / x.shape[axis - 1] for axis in (2, 3)} if b.rank == 4 else {}
    if b.rank == 3:
        found = {2: b.y.shape[2] / x.shape[2]}
    if scales is not None:
        given = b.need_constant(scales, "scales").tolist()
        where = range(b.rank) if axes is None else [axis % b.rank for axis in axes]
        found.update({axis: factor for axis, factor in zip(where, given) if axis >= 2})
    values = [found[axis] for axis in sorted(found)]
    return values if len(values) == 2 else [1.0, *values]


def _onnx_positions(b: NodeBuilder, size: int, out: int, factor: float, transformation: str) -> Positions:
    at = np.arange(out, dtype=np.float64)
    match transformation:
        case "half_pixel":
            return (at + 0.5) / factor - 0.5
        case "pytorch_half_pixel":
            return (at + 0.5) / factor - 0.5 if out > 1 else np.zeros(out)
        case "asymmetric":
            return at / factor
        case "align_corners":
            resized = factor * size  # not rounded, as ONNX has it
            return at * (size - 1) / (resized - 1) if resized > 1 else np.zeros(out)
    return b.refuse(f"coordinate transformation {transformation}")


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


@TFLITE.lower("DepthToSpace", layout="nhwc")
def depth_to_space(b: NodeBuilder, x: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    if mode != "DCR":
        b.refuse("mode CRD")
    return b.emit("DEPTH_TO_SPACE", [x], {"blockSize": blocksize})


@TFLITE.lower("SpaceToDepth", layout="nhwc")
def space_to_depth(b: NodeBuilder, x: Tensor, *, blocksize: int) -> Tensor:
    return b.emit("SPACE_TO_DEPTH", [x], {"blockSize": blocksize})
