"""Activations with parameters."""

from typing import TYPE_CHECKING

from edgewright.export.onnx.differentiable.rules import TORCH, Call

if TYPE_CHECKING:
    from torch import Tensor


@TORCH.lower("Clip")
def clip(b: Call, x: "Tensor", low: "Tensor | None" = None, high: "Tensor | None" = None) -> "Tensor":  # noqa: ARG001
    x = x if low is None else x.maximum(low)
    return x if high is None else x.minimum(high)


@TORCH.lower("LeakyRelu")
def leaky_relu(b: Call, x: "Tensor", *, alpha: float = 0.009999999776482582) -> "Tensor":  # noqa: ARG001
    from torch.nn import functional

    return functional.leaky_relu(x, alpha)


@TORCH.lower("PRelu")
def prelu(b: Call, x: "Tensor", slope: "Tensor") -> "Tensor":  # noqa: ARG001
    return x.where(x >= 0, x * slope)


@TORCH.lower("Elu")
def elu(b: Call, x: "Tensor", *, alpha: float = 1.0) -> "Tensor":  # noqa: ARG001
    from torch.nn import functional

    return functional.elu(x, alpha)


@TORCH.lower("Celu")
def celu(b: Call, x: "Tensor", *, alpha: float = 1.0) -> "Tensor":  # noqa: ARG001
    from torch.nn import functional

    return functional.celu(x, alpha)


@TORCH.lower("Selu")
def selu(
    b: Call,  # noqa: ARG001
    x: "Tensor",
    *,
    alpha: float = 1.67326319217681884765625,
    gamma: float = 1.05070102214813232421875,
) -> "Tensor":
    from torch.nn import functional

    return gamma * functional.elu(x, alpha)


@TORCH.lower("HardSigmoid")
def hard_sigmoid(b: Call, x: "Tensor", *, alpha: float = 0.20000000298023224, beta: float = 0.5) -> "Tensor":  # noqa: ARG001
    return (alpha * x + beta).clamp(0, 1)


@TORCH.lower("Gelu")
def gelu(b: Call, x: "Tensor", *, approximate: str = "none") -> "Tensor":  # noqa: ARG001
    from torch.nn import functional

    return functional.gelu(x, approximate=approximate)


@TORCH.lower("Softmax")
def softmax(b: Call, x: "Tensor", *, axis: int = -1) -> "Tensor":  # noqa: ARG001
    return x.softmax(axis)


@TORCH.lower("LogSoftmax")
def log_softmax(b: Call, x: "Tensor", *, axis: int = -1) -> "Tensor":  # noqa: ARG001
    return x.log_softmax(axis)
