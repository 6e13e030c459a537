"""Resize, where MIL samples exactly the points that ONNX does."""

from edgewright.export.coreml.builder import MilBuilder, Value
from edgewright.export.coreml.lowerings import COREML
from edgewright.export.coreml.windows import Ints

# For a whole factor both repeat every element; other combinations shift by a pixel somewhere.
REPEATING = {("asymmetric", "floor"), ("half_pixel", "round_prefer_floor"), ("half_pixel", "round_prefer_ceil")}


@COREML.lower("Resize", layout="nchw")
def resize(
    b: MilBuilder,
    x: Value,
    roi: Value = None,  # noqa: ARG001 (for a mode that is refused)
    scales: Value = None,
    sizes: Value = None,  # noqa: ARG001 (the output's shape tells)
    *,
    antialias: int = 0,
    axes: Ints = None,  # noqa: ARG001 (the output's shape tells)
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,  # noqa: ARG001
    exclude_outside: int = 0,  # noqa: ARG001
    extrapolation_value: float = 0.0,  # noqa: ARG001
    keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> Value:
    before, after = list(x.shape), b.shape()
    if len(before) != 4 or before[:2] != after[:2]:
        b.refuse("other than the last two of four dimensions")
    if antialias or keep_aspect_ratio_policy != "stretch":
        b.refuse("antialias or an aspect ratio policy")
    if any(big % small for big, small in zip(after[2:], before[2:])):
        b.refuse("a factor that is not whole")
    if (
        scales is not None
        and scales.size == 4
        and [float(s) for s in scales[2:]] != [big / small for big, small in zip(after[2:], before[2:])]
    ):
        b.refuse("a factor that is not whole")
    height, width = after[2] // before[2], after[3] // before[3]
    if mode == "nearest" and (coordinate_transformation_mode, nearest_mode) in REPEATING:
        return b.mb.upsample_nearest_neighbor(x=x, scale_factor_height=height, scale_factor_width=width)
    corners = {"align_corners": True, "half_pixel": False, "pytorch_half_pixel": False}
    if mode == "linear" and coordinate_transformation_mode in corners and 1 not in after[2:]:
        aligned = corners[coordinate_transformation_mode]
        factors = {"scale_factor_height": float(height), "scale_factor_width": float(width)}
        if b.opset < "iOS16":
            return b.mb.upsample_bilinear(x=x, align_corners=aligned, **factors)
        return b.mb.upsample_bilinear(x=x, align_corners=aligned, half_pixel_centers=not aligned, **factors)
    b.refuse(f"{mode} with {coordinate_transformation_mode}, {nearest_mode}")
