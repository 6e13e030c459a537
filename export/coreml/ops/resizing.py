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
        raise b.refusal("other than the last two of four dimensions")
    if antialias or keep_aspect_ratio_policy != "stretch":
        raise b.refusal("antialias or an aspect ratio policy")
    factors = [big / small for big, small in zip(after[2:], before[2:])]
    if any(f % 1 for f in factors) or (scales is not None and scales.size and list(scales[-2:]) != factors):
        raise b.refusal("a factor that is not whole")
    if mode == "nearest" and (coordinate_transformation_mode, nearest_mode) in REPEATING:
        return b.mb.upsample_nearest_neighbor(
            x=x, scale_factor_height=int(factors[0]), scale_factor_width=int(factors[1])
        )
    corners = {"align_corners": True, "half_pixel": False, "pytorch_half_pixel": False}
    if mode == "linear" and coordinate_transformation_mode in corners and 1 not in after[2:]:
        aligned = corners[coordinate_transformation_mode]
        by = {"scale_factor_height": factors[0], "scale_factor_width": factors[1]}
        if b.opset < "iOS16":
            return b.mb.upsample_bilinear(x=x, align_corners=aligned, **by)
        return b.mb.upsample_bilinear(x=x, align_corners=aligned, half_pixel_centers=not aligned, **by)
    raise b.refusal(f"{mode} with {coordinate_transformation_mode}, {nearest_mode}")
