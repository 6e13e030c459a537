"""Normalizations, with statistics given or computed."""

from typing import TYPE_CHECKING

from edgewright.export.onnx.differentiable.rules import TORCH, Call

if TYPE_CHECKING:
    from torch import Tensor


@TORCH.lower("BatchNormalization")
def batch_normalization(
    b: Call,
    x: "Tensor",
    scale: "Tensor",
    shift: "Tensor",
    mean: "Tensor",
    variance: "Tensor",
    *,
    epsilon: float = 9.999999747378752e-06,
    momentum: float = 0.8999999761581421,  # noqa: ARG001
    training_mode: int = 0,
) -> "Tensor":
    from torch.nn import functional

    if training_mode:
        b.refuse("training mode")
    return functional.batch_norm(x, mean, variance, scale, shift, eps=epsilon)


@TORCH.lower("LayerNormalization")
def layer_normalization(
    b: Call,  # noqa: ARG001
    x: "Tensor",
    scale: "Tensor",
    shift: "Tensor | None" = None,
    *,
    axis: int = -1,
    epsilon: float = 9.999999747378752e-06,
    stash_type: int = 1,  # noqa: ARG001
) -> "tuple[Tensor, ...]":
    axes = tuple(range(axis % x.dim(), x.dim()))
    mean = x.mean(axes, keepdim=True)
    inverse = ((x - mean).square().mean(axes, keepdim=True) + epsilon).rsqrt()
    scaled = (x - mean) * inverse * scale
    return scaled if shift is None else scaled + shift, mean, inverse


@TORCH.lower("InstanceNormalization")
def instance_normalization(
    b: Call,  # noqa: ARG001
    x: "Tensor",
    scale: "Tensor",
    shift: "Tensor",
    *,
    epsilon: float = 9.999999747378752e-06,
) -> "Tensor":
    from torch.nn import functional

    return functional.group_norm(x, x.shape[1], scale, shift, epsilon)


@TORCH.lower("GroupNormalization")
def group_normalization(
    b: Call,  # noqa: ARG001
    x: "Tensor",
    scale: "Tensor",
    shift: "Tensor",
    *,
    epsilon: float = 9.999999747378752e-06,
    num_groups: int,
    stash_type: int = 1,  # noqa: ARG001
) -> "Tensor":
    from torch.nn import functional

    return functional.group_norm(x, num_groups, scale, shift, epsilon)
