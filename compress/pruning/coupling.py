"""Which channels can only go together, read off the dependency graph of torch-pruning and proven on the module.

Fang et al. 2023, "DepGraph: Towards Any Structural Pruning" (arXiv 2301.12900). The graph is torch-pruning's; the cut
is ours, because its own leaves wrong shapes in an LSTM, knows no GRU, and renumbers channels from group to group.
"""

import copy
import warnings
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from edgewright.compress.pruning.layers import KINDS, channel_groups, cut, is_per_channel, silence
from edgewright.compress.pruning.standins import stand_in
from edgewright.errors import BadInput

CLOSE = 1e-4
"""The most that float32 sums over fewer terms may differ, of the largest output."""


@dataclass(frozen=True)
class Place:
    """A layer's channels on one side ("in" or "out"), each with the root channel that it goes with."""

    layer: str
    side: str
    roots: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Coupled:
    """Channels that go together: `units` of root channels, in every place. `name` is the layer that gives them."""

    name: str
    units: tuple[tuple[int, ...], ...]
    places: tuple[Place, ...]

    @property
    def channels(self) -> int:
        return sum(map(len, self.units))


Removed = Iterable[tuple[Coupled, Collection[int]]]
"""Couplings with the units that go."""


def couplings(
    module: nn.Module, examples: Sequence[Tensor], keep: Sequence[str]
) -> tuple[list[Coupled], dict[str, str]]:
    """Every coupling of which channels can go, and why those of other layers stay, by layer.

    A coupling counts as removable when it is proven: with the weights that read half of its channels at zero, the
    module without these channels gives the same outputs. Raises BadInput when `keep` names no layer, or the module
    cannot be traced.
    """
    unknown = [name for name in keep if name not in dict(module.named_modules())]
    if unknown:
        raise BadInput(f"prune: keep names no layer(s) {unknown}")
    found, left = list[Coupled](), dict[str, str]()
    probes = _probes(examples)
    for coupled, strange in _traced(module, examples):
        reason = strange or _reason(module, coupled, keep) or _disproof(module, coupled, probes)
        if reason:
            left[coupled.name] = reason
        else:
            found.append(coupled)
    return found, left


def remove(module: nn.Module, removed: Removed) -> None:
    """Cut the channels of these units out of every place, in place."""
    layers = dict(module.named_modules())
    gone = _by_place(removed)
    for name in dict.fromkeys(layer for layer, _ in gone):
        cut(layers[name], gone.get((name, "in"), set()), gone.get((name, "out"), set()))


def _by_place(removed: Removed) -> dict[tuple[str, str], set[int]]:
    gone: dict[tuple[str, str], set[int]] = defaultdict(set)
    for coupled, units in removed:
        roots = set(chain.from_iterable(coupled.units[unit] for unit in units))
        for place in coupled.places:
            gone[place.layer, place.side] |= {channel for channel, root in place.roots if root in roots}
    return dict(gone)


def _traced(module: nn.Module, examples: Sequence[Tensor]) -> "Iterable[tuple[Coupled, str]]":
    """Each group of torch-pruning's graph, and what in it no channel can be cut of."""
    import torch_pruning  # type: ignore[import-untyped]
    from torch.nn.modules.conv import _ConvNd

    traced = copy.deepcopy(module).eval().requires_grad_(True)
    cells = stand_in(traced)
    names = {layer: name for name, layer in traced.named_modules()}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it guesses the axis of parameters outside of layers: those are left
            graph = torch_pruning.DependencyGraph().build_dependency(traced, tuple(examples))
            groups = list(graph.get_all_groups(root_module_types=[_ConvNd, nn.Linear, nn.Embedding]))
    except Exception as error:
        raise BadInput(f"prune: the module cannot be traced: {type(error).__name__}: {error}") from error
    for group in groups:
        root = names[group[0].dep.target.module]
        name = cells[root][0] if root in cells else root
        places, strange = _places(graph, group, names, cells)
        yield Coupled(name, _units(module, places, len(group[0].idxs)), places), strange


def _places(graph: Any, group: Any, names: dict[nn.Module, str], cells: Any) -> tuple[tuple[Place, ...], str]:
    found: dict[tuple[str, str], dict[int, int]] = defaultdict(dict)
    strange: list[str] = []
    for item in group.items:
        target = item.dep.target.module
        name = names.get(target)
        if isinstance(target, nn.Parameter):
            strange.append("its channels meet a parameter outside of a layer")
        elif name is None:
            continue  # an operation without weights
        elif not isinstance(target, KINDS):
            strange.append(f"{name} ({type(target).__name__}) mixes its channels")
        elif None in item.root_idxs:
            strange.append(f"its channels cannot be followed to {name}")
        else:
            side = "out" if is_per_channel(target) or graph.is_out_channel_pruning_fn(item.dep.handler) else "in"
            layer, reads_input = cells.get(name, (name, True))
            if side == "out" or reads_input:
                found[layer, side] |= dict(zip(item.idxs, item.root_idxs, strict=True))
    places = tuple(Place(layer, side, tuple(sorted(roots.items()))) for (layer, side), roots in found.items())
    return places, "; ".join(dict.fromkeys(strange))


def _units(module: nn.Module, places: Iterable[Place], size: int) -> tuple[tuple[int, ...], ...]:
    """Root channels that only go together: one of each group of a grouped convolution."""
    groups = max((channel_groups(module.get_submodule(place.layer)) for place in places), default=1)
    if size % groups:
        return (tuple(range(size)),)
    each = size // groups
    return tuple(tuple(range(place, size, each)) for place in range(each))


def _reason(module: nn.Module, coupled: Coupled, keep: Sequence[str]) -> str:
    """Why a coupling stays whatever its weights are; empty when they decide."""
    kept = [place.layer for place in coupled.places if any(f"{place.layer}.".startswith(f"{k}.") for k in keep)]
    projected = [p.layer for p in coupled.places if getattr(module.get_submodule(p.layer), "proj_size", 0)]
    owners: dict[int, set[str]] = defaultdict(set)
    for name, layer in module.named_modules():
        for parameter in layer.parameters(recurse=False):
            owners[id(parameter)].add(name)
    mine = {place.layer for place in coupled.places}
    shared = sorted({name for each in owners.values() if len(each) > 1 for name in each & mine})
    problems = {
        f"the recipe keeps {', '.join(dict.fromkeys(kept))}": bool(kept),
        f"{', '.join(projected)} projects its hidden state": bool(projected),
        f"{', '.join(shared)} share weights": bool(shared),
        "it has one channel, or as many groups as channels": len(coupled.units) < 2,
    }
    return next((reason for reason, holds in problems.items() if holds), "")


@torch.no_grad()
def _disproof(module: nn.Module, coupled: Coupled, probes: Sequence[Tensor]) -> str:
    """Why half of the channels cannot go without another change of the outputs; empty when they can."""
    trial = copy.deepcopy(module).eval()
    removed = [(coupled, range(0, len(coupled.units), 2))]
    for (layer, side), channels in _by_place(removed).items():
        silence(trial.get_submodule(layer), side, channels)
    before = outputs_of(trial(*probes))
    try:
        remove(trial, removed)
        after = outputs_of(trial(*probes))
    except Exception as error:
        return f"the module fails without half of its channels: {type(error).__name__}: {error}"
    if [each.shape for each in before] != [each.shape for each in after]:
        return "its channels are outputs of the module"
    same = all(torch.allclose(a, b, rtol=0, atol=CLOSE * float(a.abs().max() + 1e-3)) for a, b in zip(before, after))
    return "" if same else "what follows depends on the number or the order of its channels"


def outputs_of(result: Any) -> list[Tensor]:
    """The tensors that a module gave, alone, in a tuple or in a dict."""
    if isinstance(result, dict):
        return list(result.values())
    return list(result) if isinstance(result, (tuple, list)) else [result]


def _probes(examples: Sequence[Tensor]) -> list[Tensor]:
    """Seeded noise in the place of float examples, which are often zeros."""
    generator = torch.Generator().manual_seed(0)
    noise = (torch.randn(each.shape, generator=generator) for each in examples)
    return [made if each.is_floating_point() else each for made, each in zip(noise, examples, strict=True)]
