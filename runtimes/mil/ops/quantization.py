"""Affine codes of activations."""

from typing import Any

import numpy as np
import torch

from edgewright.runtimes.mil.operators import OPERATION
from edgewright.runtimes.mil.parameters import per_channel

Tensor = torch.Tensor


@OPERATION("quantize")
def quantize(x: Tensor, scale: Tensor, output_dtype: str, zero_point: Tensor | None = None, axis: Any = 0) -> Tensor:
    limits = np.iinfo(output_dtype)
    codes = torch.round(x / per_channel(scale, x.ndim, int(axis)))
    if zero_point is not None:
        codes = codes + per_channel(zero_point, x.ndim, int(axis)).float()
    kind: torch.dtype = getattr(torch, output_dtype)
    return codes.clamp(float(limits.min), float(limits.max)).to(kind)


@OPERATION("dequantize")
def dequantize(x: Tensor, scale: Tensor, zero_point: Tensor | None = None, axis: Any = 0) -> Tensor:
    codes = x.float()
    if zero_point is not None:
        codes = codes - per_channel(zero_point, x.ndim, int(axis)).float()
    return codes * per_channel(scale, x.ndim, int(axis))
