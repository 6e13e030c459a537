"""Int8 grids: real = (code - zero_point) × scale (Jacob et al. 2018, arXiv 1712.05877)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LOW, HIGH = -128, 127
WEIGHT_LIMIT = 127  # weights are symmetric: -128 is not used
SMALLEST_SCALE = 2.0**-60  # the product of two is still a normal float32
EMPTY_SCALE = 2.0**-8  # of a tensor that was always zero: it may live later
BIAS_LIMIT = 2**30  # half of int32: leaves the accumulator as much room


@dataclass(frozen=True)
class Grid:
    """One scale for a whole tensor; `scale` is exact in float32."""

    scale: float
    zero_point: int

    def encode(self, real: NDArray[Any] | float) -> NDArray[np.int8]:
        codes = np.rint(np.asarray(real, np.float64) / self.scale) + self.zero_point
        clipped: NDArray[np.int8] = np.clip(codes, LOW, HIGH).astype(np.int8)
        return clipped


UNIT = Grid(2.0**-8, LOW)  # [0, 1): what int8 kernels of Sigmoid and Softmax give
SIGNED_UNIT = Grid(2.0**-7, 0)  # [-1, 1): Tanh


def activation_grid(low: float, high: float) -> Grid:
    """The asymmetric grid that covers [low, high] and holds zero exactly (padding and ReLU need it)."""
    low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        return Grid(EMPTY_SCALE, 0)
    scale = float(np.float32(max((high - low) / (HIGH - LOW), SMALLEST_SCALE)))
    return Grid(scale, int(np.clip(np.rint(LOW - low / scale), LOW, HIGH)))


def channel_scales(
    weight: NDArray[Any], axis: int, bias: NDArray[Any] | None, input_scale: float
) -> NDArray[np.float32]:
    """Symmetric scales [channels] float32 of a weight (Krishnamoorthi 2018, arXiv 1806.08342, 3.1).

    A channel of zeros takes the layer's largest scale; a scale grows where its bias would not fit int32.
    """
    peaks = np.abs(weight.astype(np.float64)).max(axis=tuple(i for i in range(weight.ndim) if i != axis))
    peaks[peaks == 0] = peaks.max() or 1.0
    scales = np.maximum(peaks / WEIGHT_LIMIT, SMALLEST_SCALE)
    if bias is not None:
        needed = np.abs(bias.astype(np.float64)) / (input_scale * BIAS_LIMIT)
        scales = np.maximum(scales, needed.reshape(-1, len(scales)).max(axis=0))
    single: NDArray[np.float32] = scales.astype(np.float32)
    return single


def encode_weight(weight: NDArray[Any], axis: int, scales: NDArray[Any]) -> NDArray[np.int8]:
    """Codes in [-127, 127], same shape."""
    spread = [1] * weight.ndim
    spread[axis] = -1
    codes = np.rint(weight.astype(np.float64) / scales.astype(np.float64).reshape(spread))
    clipped: NDArray[np.int8] = np.clip(codes, -WEIGHT_LIMIT, WEIGHT_LIMIT).astype(np.int8)
    return clipped
