"""The layers that stand for one: what each is made with, what it costs, and how weights come in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from edgewright.edits import Part, Replace, replace_layer

if TYPE_CHECKING:
    from torch import Tensor, nn

WINDOW = ("kernel_size", "stride", "padding", "dilation")
IDENTITY = {"kernel_size": 1, "stride": 1, "padding": 0, "dilation": 1}


@dataclass(frozen=True)
class Cost:
    """Parameters, and multiply-accumulates for the calls that were seen."""

    parameters: int = 0
    macs: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.parameters + other.parameters, self.macs + other.macs)

    def __sub__(self, other: "Cost") -> "Cost":
        return Cost(self.parameters - other.parameters, self.macs - other.macs)

    def saves(self, other: "Cost") -> bool:
        """Whether both figures are below the other's."""
        return self.parameters < other.parameters and self.macs < other.macs


def linear(inputs: int, outputs: int, bias: bool) -> Part:
    return Part("Linear", {"in_features": inputs, "out_features": outputs, "bias": bias})


def convolution(kind: str, inputs: int, outputs: int, groups: int, bias: bool, window: Mapping[str, Any]) -> Part:
    """`window` holds kernel_size, stride, padding and dilation, one value an axis (padding may be "same")."""
    arguments = {"in_channels": inputs, "out_channels": outputs, "groups": groups, "bias": bias}
    return Part(kind, arguments | {key: list(v) if isinstance(v, tuple) else v for key, v in window.items()})


def pointwise(kind: str, inputs: int, outputs: int, groups: int, bias: bool) -> Part:
    """A convolution of one position."""
    axes = axes_of(kind)
    window = {key: (value,) * axes for key, value in IDENTITY.items()}
    return convolution(kind, inputs, outputs, groups, bias, window)


def window_of(layer: "nn.Module") -> dict[str, Any]:
    """How a convolution moves: kernel_size, stride, padding and dilation."""
    return {key: getattr(layer, key) for key in WINDOW}


def along(window: Mapping[str, Any], axis: int) -> dict[str, Any]:
    """The window that moves as `window` on one axis, and stands still on the others."""
    return {
        key: value if isinstance(value, str) else tuple(v if i == axis else IDENTITY[key] for i, v in enumerate(value))
        for key, value in window.items()
    }


def part_of(layer: "nn.Module") -> Part:
    """The part that makes a layer like this Linear or convolution."""
    kind, bias = type(layer).__name__, layer.bias is not None
    if kind == "Linear":
        return linear(_int(layer, "in_features"), _int(layer, "out_features"), bias)
    sizes = [_int(layer, name) for name in ("in_channels", "out_channels", "groups")]
    return convolution(kind, sizes[0], sizes[1], sizes[2], bias, window_of(layer))


def axes_of(kind: str) -> int:
    """The number of axes that Conv1d, Conv2d or Conv3d moves on."""
    return int(kind[4])


def cost(parts: Sequence[Part], inputs: Sequence[Sequence[int]]) -> Cost:
    """What these layers cost, one behind the other, called once for each shape of `inputs`."""
    total = Cost(sum(_parameters(part) for part in parts))
    for shape in inputs:
        for part in parts:
            shape = _output(part, shape)
            total += Cost(macs=prod(shape) * _macs_per_output(part))
    return total


def put(module: "nn.Module", name: str, parts: Sequence[Part], weights: "Sequence[Tensor]") -> Replace:
    """Replace a layer by `parts`; its bias goes to the one that has one. Gives the edit.

    The weights hold the numbers of each part's weight in order, in any shape.
    """
    import torch

    layer = module.get_submodule(name)
    replacement = Replace(name, tuple(parts))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        made = replace_layer(module, replacement)
        for part, weight in zip(made, weights, strict=True):
            own = part.get_parameter("weight")
            own.copy_(weight.reshape(own.shape))
            if part.bias is not None and layer.bias is not None:
                part.get_parameter("bias").copy_(layer.get_parameter("bias"))
    made.train(layer.training).requires_grad_(any(parameter.requires_grad for parameter in layer.parameters()))
    return replacement


def _int(layer: "nn.Module", name: str) -> int:
    return int(getattr(layer, name))


def _parameters(part: Part) -> int:
    outputs = part.arguments["out_features" if part.kind == "Linear" else "out_channels"]
    return int(outputs * (_macs_per_output(part) + bool(part.arguments["bias"])))


def _macs_per_output(part: Part) -> int:
    made = part.arguments
    if part.kind == "Linear":
        return int(made["in_features"])
    return int(made["in_channels"] // made["groups"] * prod(made["kernel_size"]))


def _output(part: Part, shape: Sequence[int]) -> tuple[int, ...]:
    """The shape behind a layer; a convolution's input may come without a batch."""
    made = part.arguments
    if part.kind == "Linear":
        return (*shape[:-1], made["out_features"])
    axes = axes_of(part.kind)
    places = tuple(_length(made, i, size) for i, size in enumerate(shape[-axes:]))
    return (*shape[: -axes - 1], made["out_channels"], *places)


def _length(made: Mapping[str, Any], axis: int, size: int) -> int:
    if made["padding"] == "same":
        return size
    padding = 0 if made["padding"] == "valid" else made["padding"][axis]
    reach = made["dilation"][axis] * (made["kernel_size"][axis] - 1)
    return int((size + 2 * padding - reach - 1) // made["stride"][axis] + 1)
