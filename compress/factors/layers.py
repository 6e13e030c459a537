"""The layers of a module that a Sequential can replace, with the shapes that they see; the others with the reason."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgewright.compress.factors.parts import Cost, cost, part_of
from edgewright.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor, nn

LINEAR = ("Linear",)
CONVOLUTIONS = ("Conv1d", "Conv2d", "Conv3d")


@dataclass(frozen=True)
class Seen:
    """A Linear or convolution layer, and the shape of its input at each of its calls."""

    name: str
    layer: "nn.Module"
    inputs: tuple[tuple[int, ...], ...]

    @property
    def weight(self) -> "Tensor":
        """In double precision: [out, in] or [out, in per group, ...kernel]."""
        weight: Tensor = self.layer.get_parameter("weight")
        return weight.detach().double()

    @property
    def cost(self) -> Cost:
        return cost([part_of(self.layer)], self.inputs)


def seen_layers(
    module: "nn.Module", examples: "Mapping[str, Tensor]", kinds: Collection[str], keep: Sequence[str]
) -> tuple[list[Seen], dict[str, str]]:
    """The layers of these kinds in the order of their first call, and why other layers with a matrix are left.

    `module` is in eval mode and runs on the examples. Raises BadInput when `keep` names no layer.
    """
    names: dict[nn.Module, list[str]] = {}
    for name, layer in module.named_modules(remove_duplicate=False):
        names.setdefault(layer, []).append(name)
    known = [name for each in names.values() for name in each]
    unknown = [name for name in keep if name not in known]
    if unknown:
        raise BadInput(f"keep names no layer(s) {unknown}")
    calls = _calls(module, [layer for layer in names if _has_matrix(layer)], examples)
    order = [*calls, *(layer for layer in names if _has_matrix(layer) and layer not in calls)]
    reasons = {layer: _reason(layer, names[layer], kinds, keep, module) for layer in order}
    found = [Seen(names[layer][0], layer, tuple(calls.get(layer, ()))) for layer in order]
    left = {each.name: reasons[each.layer] for each in found if reasons[each.layer]}
    left |= {each.name: "it is not called" for each in found if not each.inputs and each.name not in left}
    chosen = [each for each in found if each.name not in left]
    for each in chosen:
        if not _stands_behind_a_sequential(module, each.name, examples):
            left[each.name] = "the module reads its weights itself"
    return [each for each in chosen if each.name not in left], left


def total_macs(module: "nn.Module", examples: "Mapping[str, Tensor]") -> int:
    """The MACs of every Linear and convolution in one call on the examples."""
    layers = [each for each in module.modules() if type(each).__name__ in (*LINEAR, *CONVOLUTIONS)]
    calls = _calls(module, layers, examples)
    return sum(Seen("", layer, tuple(shapes)).cost.macs for layer, shapes in calls.items())


def _reason(
    layer: "nn.Module", names: Sequence[str], kinds: Collection[str], keep: Sequence[str], module: "nn.Module"
) -> str:
    """Why a layer with a matrix stays; empty when it may be replaced."""
    import torch

    kind = type(layer).__name__
    own = {id(parameter) for parameter in layer.parameters(recurse=False)}
    tied = [id(p) for each in module.modules() for p in each.parameters(recurse=False) if id(p) in own]
    padding = getattr(layer, "padding_mode", "zeros")
    problems = {
        "the recipe keeps it": any(name in keep for name in names),
        f"a {kind} is not replaced": kind not in kinds or not type(layer).__module__.startswith("torch.nn.modules"),
        "it is the whole module": layer is module,
        f"it is shared by {', '.join(names)}": len(names) > 1,
        "another layer shares its weights": len(tied) > len(own),
        f"its padding is {padding!r}, only zeros can move to another layer": padding != "zeros",
        "its weights are not float32": getattr(layer, "weight", None) is not None
        and layer.weight.dtype is not torch.float32,
    }
    return next((reason for reason, holds in problems.items() if holds), "")


def _has_matrix(layer: "nn.Module") -> bool:
    return any(parameter.dim() > 1 for parameter in layer.parameters(recurse=False))


def _calls(
    module: "nn.Module", layers: "Sequence[nn.Module]", examples: "Mapping[str, Tensor]"
) -> "dict[nn.Module, list[tuple[int, ...]]]":
    """The shapes of the first inputs, in the order of the calls."""
    import torch

    calls: dict[nn.Module, list[tuple[int, ...]]] = {}

    def note(layer: "nn.Module", arguments: "tuple[Tensor, ...]") -> None:
        if arguments and isinstance(arguments[0], torch.Tensor):
            calls.setdefault(layer, []).append(tuple(arguments[0].shape))

    hooks = [layer.register_forward_pre_hook(note) for layer in layers]
    try:
        with torch.no_grad():
            module(*examples.values())
    finally:
        for hook in hooks:
            hook.remove()
    return calls


def _stands_behind_a_sequential(module: "nn.Module", name: str, examples: "Mapping[str, Tensor]") -> bool:
    """Whether the module runs when the layer is hidden in a Sequential, and so has no weight of its own to read."""
    import torch
    from torch import nn

    parent, _, own = name.rpartition(".")
    owner = module.get_submodule(parent)
    layer = owner.get_submodule(own)
    setattr(owner, own, nn.Sequential(layer).train(layer.training))
    try:
        with torch.no_grad():
            module(*examples.values())
    except AttributeError:
        return False
    finally:
        setattr(owner, own, layer)
    return True
