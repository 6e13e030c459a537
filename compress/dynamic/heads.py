"""A network with a small classifier on each of some of its layers."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from edgewright.errors import BadInput

POOLS = {3: nn.AdaptiveAvgPool1d, 4: nn.AdaptiveAvgPool2d, 5: nn.AdaptiveAvgPool3d}
"""By the number of axes of [n, channels, …]."""


class MultiExit(nn.Module):
    """Gives the scores [n, classes] of every exit in order, the backbone's own last."""

    def __init__(self, backbone: nn.Module, layers: Sequence[str], heads: Sequence[nn.Module]) -> None:
        super().__init__()
        self.backbone = backbone
        self.layers = tuple(layers)
        self.heads = nn.ModuleList(heads)
        self._is_frozen = False

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        features, scores = watch(self.backbone, self.layers, inputs)
        return (*(head(features[name][0]) for name, head in zip(self.layers, self.heads, strict=True)), scores)

    def train(self, mode: bool = True) -> "MultiExit":
        super().train(mode)
        if self._is_frozen:
            self.backbone.eval()
        return self

    def freeze(self, frozen: bool) -> None:
        """Whether the backbone stays as it is while the heads train, in eval mode and without gradients."""
        self._is_frozen = frozen
        self.backbone.requires_grad_(not frozen)


def watch(module: nn.Module, layers: Sequence[str], inputs: Sequence[Tensor]) -> tuple[dict[str, list[Tensor]], Tensor]:
    """What each call of the named layers gave, in the order of their first calls, and the module's own answer."""
    found: dict[str, list[Tensor]] = {}
    modules = dict(module.named_modules())

    def keep(name: str) -> RemovableHandle:
        def hook(_: nn.Module, __: object, output: Tensor) -> None:
            found.setdefault(name, []).append(output)

        handle: RemovableHandle = modules[name].register_forward_hook(hook)
        return handle

    handles = [keep(name) for name in layers]
    try:
        return found, module(*inputs)
    finally:
        for handle in handles:
            handle.remove()


def with_heads(
    backbone: nn.Module, layers: Sequence[str], inputs: Sequence[Tensor], *, hidden: int, pool: int
) -> MultiExit:
    """Heads of pool + linear (with `hidden`, + ReLU + linear) on `layers`, whose shapes come from one call.

    Raises one BadInput naming every layer that cannot carry one.
    """
    unknown = [name for name in layers if name not in dict(backbone.named_modules())]
    if unknown:
        raise BadInput(f"early exits: layers names no layer(s) {unknown}")
    with torch.no_grad():
        found, scores = watch(backbone, layers, inputs)
    problems = [problem for name in layers if (problem := _problem(name, found.get(name, [])))]
    if not isinstance(scores, Tensor) or scores.dim() != 2 or scores.shape[1] < 2:
        problems.append("the network must give one tensor of scores [n, classes]")
    if list(found) != list(layers) and len(found) == len(layers):
        problems.append(f"data passes the layers in the order {', '.join(found)}: name them so")
    if problems:
        raise BadInput("early exits: " + "; ".join(problems))
    heads = [_head(found[name][0].shape, scores.shape[1], hidden, pool) for name in layers]
    return MultiExit(backbone, layers, heads)


def _problem(name: str, outputs: list[Tensor]) -> str | None:
    if len(outputs) != 1:
        return f"layer {name} is called {len(outputs)} times, wanted once"
    if not isinstance(outputs[0], Tensor):
        return f"layer {name} gives {type(outputs[0]).__name__}, wanted a tensor"
    if outputs[0].dim() not in (2, *POOLS):
        return f"layer {name} gives {outputs[0].dim()} axes, wanted [n, features] or [n, channels, …]"
    return None


def _head(shape: Sequence[int], classes: int, hidden: int, pool: int) -> nn.Module:
    sides = [min(pool, side) for side in shape[2:]]
    layers: list[nn.Module] = [POOLS[len(shape)](tuple(sides)), nn.Flatten()] if sides else []
    width = shape[1]
    for side in sides:
        width *= side
    if hidden:
        layers += [nn.Linear(width, hidden), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(hidden or width, classes))
