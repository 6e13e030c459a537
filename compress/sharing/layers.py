"""Which parameters of a module are weights, how their output channels lie, and why others keep all their values."""

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

RECURRENT = ("RNN", "LSTM", "GRU")
WEIGHTS = {
    **dict.fromkeys(
        ("Linear", "Embedding", *(f"Conv{n}d" for n in (1, 2, 3)), *(f"ConvTranspose{n}d" for n in (1, 2, 3))),
        ("weight",),
    ),
    "MultiheadAttention": ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"),
    **dict.fromkeys(RECURRENT, ("weight_ih_", "weight_hh_")),
}
"""The class of a layer → how the names of its weights begin. Biases and norms are few bytes."""


@dataclass(frozen=True, eq=False)
class Weight:
    """A parameter that gets a table. `channel_axis` counts output channels."""

    layer: str
    name: str
    parameter: "nn.Parameter"
    channel_axis: int
    depthwise: bool
    recurrent: bool

    @property
    def path(self) -> str:
        """As in the module's state_dict."""
        return f"{self.layer}.{self.name}" if self.layer else self.name


def weights_of(module: "nn.Module") -> tuple[list[Weight], dict[str, str]]:
    """The weights of a module in its order, and those that none can be of, with the reason, by path.

    A tensor that two layers share is none: both would have to read one table.
    """
    found: list[Weight] = []
    left: dict[str, str] = {}
    owners = Counter(id(parameter) for _, parameter in module.named_parameters(remove_duplicate=False))
    for layer_name, layer in module.named_modules():
        kind = _kind(layer)
        for name, parameter in layer.named_parameters(recurse=False):
            if not name.startswith(WEIGHTS.get(kind, ())) or parameter.dim() < 2:
                continue
            axis = 1 if kind.startswith("ConvTranspose") else 0
            weight = Weight(layer_name, name, parameter, axis, _is_depthwise(layer), kind in RECURRENT)
            if owners[id(parameter)] > 1:
                left[weight.path] = "two layers share it"
            else:
                found.append(weight)
    return found, left


def _kind(layer: "nn.Module") -> str:
    """The name of the class, or of the first one above it, that `WEIGHTS` knows."""
    return next((kind.__name__ for kind in type(layer).__mro__ if kind.__name__ in WEIGHTS), "")


def _is_depthwise(layer: "nn.Module") -> bool:
    groups = getattr(layer, "groups", 1)
    return bool(groups > 1 and groups == getattr(layer, "in_channels", 0))
