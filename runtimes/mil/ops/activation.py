"""Activations."""

from typing import Any

import torch
import torch.nn.functional as F

from edgewright.runtimes.mil.operators import OPERATION
from edgewright.runtimes.mil.parameters import per_channel

Tensor = torch.Tensor


OPERATION.rows(
    {
        "relu": lambda x: torch.relu(x),
        "relu6": lambda x: x.clamp(0, 6),
        "sigmoid": lambda x: torch.sigmoid(x),
        "silu": lambda x: F.silu(x),
        "softplus": lambda x: F.softplus(x),
        "softsign": lambda x: F.softsign(x),
        "tanh": lambda x: torch.tanh(x),
    }
)


@OPERATION("clamped_relu")
def clamped_relu(x: Tensor, alpha: Any, beta: Any) -> Tensor:
    return torch.where(x >= 0, x, float(alpha) * x).clamp(max=float(beta))


@OPERATION("elu")
def elu(x: Tensor, alpha: Any) -> Tensor:
    return F.elu(x, float(alpha))


@OPERATION("gelu")
def gelu(x: Tensor, mode: str = "EXACT") -> Tensor:
    if mode == "SIGMOID_APPROXIMATION":
        return x * torch.sigmoid(1.702 * x)
    return F.gelu(x, approximate={"EXACT": "none", "TANH_APPROXIMATION": "tanh"}[mode])


@OPERATION("leaky_relu")
def leaky_relu(x: Tensor, alpha: Any) -> Tensor:
    return torch.where(x >= 0, x, float(alpha) * x)


@OPERATION("linear_activation")
def linear_activation(x: Tensor, alpha: Any, beta: Any) -> Tensor:
    return float(alpha) * x + float(beta)


@OPERATION("prelu")
def prelu(x: Tensor, alpha: Tensor) -> Tensor:
    return torch.where(x >= 0, x, per_channel(alpha, x.ndim) * x)


@OPERATION("scaled_tanh")
def scaled_tanh(x: Tensor, alpha: Any, beta: Any) -> Tensor:
    return float(alpha) * torch.tanh(float(beta) * x)


@OPERATION("sigmoid_hard")
def sigmoid_hard(x: Tensor, alpha: Any, beta: Any) -> Tensor:
    return (x * float(alpha) + float(beta)).clamp(0, 1)


@OPERATION("softmax")
def softmax(x: Tensor, axis: Any = -1) -> Tensor:
    return x.softmax(int(axis))


@OPERATION("softplus_parametric")
def softplus_parametric(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    return per_channel(alpha, x.ndim) * F.softplus(per_channel(beta, x.ndim) * x)


@OPERATION("thresholded_relu")
def thresholded_relu(x: Tensor, alpha: Any) -> Tensor:
    return torch.where(x >= float(alpha), x, torch.zeros(()))
