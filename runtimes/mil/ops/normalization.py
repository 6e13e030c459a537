"""Normalizations."""

from typing import Any

import torch
import torch.nn.functional as F

from edgewright.runtimes.mil.operators import OPERATION
from edgewright.runtimes.mil.parameters import ints, per_channel

Tensor = torch.Tensor


@OPERATION("batch_norm")
def batch_norm(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: Any = 1e-5,
) -> Tensor:
    return F.batch_norm(x, mean, variance, gamma, beta, eps=float(epsilon))


@OPERATION("instance_norm")
def instance_norm(x: Tensor, gamma: Tensor | None = None, beta: Tensor | None = None, epsilon: Any = 1e-5) -> Tensor:
    return _normal(x, list(range(2, x.ndim)), _channels(gamma, x), _channels(beta, x), float(epsilon))


@OPERATION("layer_norm")
def layer_norm(
    x: Tensor, axes: Any = None, gamma: Tensor | None = None, beta: Tensor | None = None, epsilon: Any = 1e-5
) -> Tensor:
    where = sorted(axis % x.ndim for axis in ints(axes)) if axes is not None else list(range(x.ndim))
    shape = [length if axis in where else 1 for axis, length in enumerate(x.shape)]
    scale, shift = (None if each is None else each.reshape(shape) for each in (gamma, beta))
    return _normal(x, where, scale, shift, float(epsilon))


@OPERATION("l2_norm")
def l2_norm(x: Tensor, epsilon: Any = 1e-6) -> Tensor:
    """Over the last three axes."""
    return x / (x.square().sum((-3, -2, -1), keepdim=True) + float(epsilon)).sqrt()


@OPERATION("local_response_norm")
def local_response_norm(x: Tensor, size: Any, alpha: Any = 1e-4, beta: Any = 0.75, k: Any = 1.0) -> Tensor:
    """Over `size` neighbouring channels; with an even size the one more lies before, as in PyTorch."""
    return F.local_response_norm(x, int(size), float(alpha), float(beta), float(k))


def _normal(x: Tensor, axes: list[int], scale: Tensor | None, shift: Tensor | None, epsilon: float) -> Tensor:
    centred = x - x.mean(axes, keepdim=True)
    found = centred / (centred.square().mean(axes, keepdim=True) + epsilon).sqrt()
    found = found if scale is None else found * scale
    return found if shift is None else found + shift


def _channels(parameter: Tensor | None, x: Tensor) -> Tensor | None:
    return None if parameter is None else per_channel(parameter, x.ndim)
