"""Resizing along each axis by the source positions that ONNX names."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgewright.export.onnx.differentiable.rules import TORCH, Call

if TYPE_CHECKING:
    from torch import Tensor

Positions = NDArray[np.float64]

NEAREST: dict[str, Callable[[Positions], Positions]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


@TORCH.lower("Resize")
def resize(
    b: Call,
    x: "Tensor",
    roi: "Tensor | None" = None,  # noqa: ARG001
    scales: "Tensor | None" = None,
    sizes: "Tensor | None" = None,  # noqa: ARG001
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
) -> "Tensor":
    if mode not in ("nearest", "linear") or antialias or keep_aspect_ratio_policy != "stretch":
        b.refuse(f"mode {mode}{' with antialias' if antialias else ''}, policy {keep_aspect_ratio_policy}")
    factors = {axis: n / m for axis, (n, m) in enumerate(zip(b.shape, x.shape, strict=True))}
    if scales is not None and scales.numel():
        factors |= dict(zip((axis % x.dim() for axis in axes or range(x.dim())), scales.tolist(), strict=True))
    for axis, factor in factors.items():
        if factor != 1:
            at = _positions(b, x.shape[axis], b.shape[axis], factor, coordinate_transformation_mode)
            x = _nearest(x, axis, NEAREST[nearest_mode](at)) if mode == "nearest" else _linear(x, axis, at)
    return x


def _positions(b: Call, size: int, out: int, factor: float, transformation: str) -> Positions:
    """Where along an axis each output element reads."""
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


def _nearest(x: "Tensor", axis: int, at: Positions) -> "Tensor":
    import torch

    return x.index_select(axis, torch.from_numpy(np.clip(at, 0, x.shape[axis] - 1).astype(np.int64)))


def _linear(x: "Tensor", axis: int, at: Positions) -> "Tensor":
    import torch

    last = x.shape[axis] - 1
    below = np.floor(at)
    low, high = (torch.from_numpy(np.clip(i, 0, last).astype(np.int64)) for i in (below, below + 1))
    share = torch.from_numpy((at - below).astype(np.float32)).reshape(-1, *(1,) * (x.dim() - 1 - axis))
    return x.index_select(axis, low) * (1 - share) + x.index_select(axis, high) * share
