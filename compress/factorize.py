"""Low rank: a layer becomes a product of smaller ones, by SVD, spatially, or over channels (Tucker-2)."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from edgewright.compress.factors.inputs import Batch, batches, roots
from edgewright.compress.factors.layers import CONVOLUTIONS, LINEAR, Seen, seen_layers, total_macs
from edgewright.compress.factors.method import Method, Rank
from edgewright.compress.factors.parts import Cost, cost, put
from edgewright.compress.factors.ranks import Option, by_budget, by_energy, options_of
from edgewright.compress.factors.sensitivity import sensitive
from edgewright.compress.factors.tucker import Tucker
from edgewright.compress.factors.two import Split
from edgewright.compress.passes import Given, Pass
from edgewright.edits import Edit
from edgewright.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor, nn

RANK_BY = ("parameters", "macs", "energy")
WEIGHTINGS = ("auto", "inputs", "none")
IMPORTANCE = ("energy", "sensitivity")
METHODS = ("best", "spatial", "channel")


@dataclass(frozen=True)
class Factorize:
    """`fraction` of the module's parameters (or MACs) stays; with `rank_by = "energy"`, of each layer's energy.

    A budget is shared out among the layers by `importance`: the energy that each loses, or the change of the module's
    outputs on `samples` samples ("sensitivity"). `weighting` "inputs" makes the factors best for the inputs that the
    layers see on the train part instead of for all inputs alike; "auto" does so where there are samples.
    `convolutions` of more than one position are split "spatial"ly, over "channel"s, or by what loses less.
    `ranks` gives the ranks of single layers, and then no other layer changes: one number, or for "channel" two (behind
    the input, before the output). Ranks are multiples of `round_to`. Layers named in `keep` are left alone.
    """

    rank_by: str = "parameters"
    fraction: float = 0.5
    importance: str = "energy"
    weighting: str = "auto"
    convolutions: str = "best"
    ranks: Mapping[str, int | Sequence[int]] = field(default_factory=dict)
    samples: int = 128
    round_to: int = 1
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        choices = {
            "rank_by": RANK_BY, "importance": IMPORTANCE, "weighting": WEIGHTINGS, "convolutions": METHODS,
        }  # fmt: skip
        problems = [
            f"{name} is {getattr(self, name)!r}, wanted one of {', '.join(allowed)}"
            for name, allowed in choices.items()
            if getattr(self, name) not in allowed
        ]
        if not 0 < self.fraction < 1:
            problems.append(f"fraction is {self.fraction}, wanted a number between 0 and 1")
        problems += [
            f"{name} is {getattr(self, name)}, wanted 1 or more"
            for name in ("samples", "round_to")
            if getattr(self, name) < 1
        ]
        problems += [f"the rank of {layer} is {rank!r}, wanted one or two numbers ≥ 1"
                     for layer, rank in self.ranks.items() if not _is_rank(rank)]  # fmt: skip
        if problems:
            raise BadInput("factorize: " + "; ".join(problems))


def factorize(module: "nn.Module", config: Factorize, given: Given) -> "tuple[nn.Module, Edit]":
    """A copy of `module` whose layers are products of smaller ones, where that saves parameters and MACs; its edit.

    Spatial: Jaderberg et al. 2014 (arXiv 1405.3866). Channels: Kim et al. 2016 (Tucker-2, arXiv 1511.06530). Factors
    best for the inputs: the SVD of weight times the root of their second moments, cf. Zhang et al. 2016
    (arXiv 1505.06798). The edit lists the layers that are left, with the reason.
    Raises BadInput when `keep` or `ranks` name no layer, a rank is out of range, no layer can be replaced, the budget
    is out of reach, or samples are wanted where there are none.
    """
    try:
        return _factorize(module, config, given)
    except BadInput as error:
        raise BadInput(f"factorize: {error}") from None


def _factorize(module: "nn.Module", config: Factorize, given: Given) -> "tuple[nn.Module, Edit]":
    changed = copy.deepcopy(module).eval()
    layers, left = seen_layers(changed, given.example_inputs, (*LINEAR, *CONVOLUTIONS), config.keep)
    methods = _weighed(changed, layers, config, given)
    if config.ranks:
        chosen, why_not = _named(layers, methods, config.ranks, left)
    else:
        chosen, why_not = _chosen(changed, layers, methods, config, given)
    left |= {layer.name: why_not for layer in layers if layer.name not in chosen and layer.name not in left}
    if not chosen:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left.items())
        raise BadInput(f"no layer can be replaced ({reasons})")
    replaced = tuple(
        put(changed, name, option.method.parts(option.rank), option.method.weights(option.rank))
        for name, option in chosen.items()
    )
    return changed, Edit("factorize", asdict(config), replaced=replaced, left=left)


def methods_of(layer: "nn.Module", convolutions: str) -> tuple[str, ...]:
    """The ways to split a layer."""
    if type(layer).__name__ in LINEAR:
        return ("linear",)
    kernel: Sequence[int] = layer.kernel_size  # type: ignore[assignment]
    if all(length == 1 for length in kernel):
        return ("pointwise",)
    spatial = len(kernel) == 2 and min(kernel) > 1
    ways = {"channel": convolutions in ("best", "channel"), "spatial": spatial and convolutions in ("best", "spatial")}
    return tuple(name for name, wanted in ways.items() if wanted)


def _weighed(module: "nn.Module", layers: Sequence[Seen], config: Factorize, given: Given) -> dict[str, list[Method]]:
    """The methods of each layer, weighed by the inputs where the config says so."""
    names = {each.name: methods_of(each.layer, config.convolutions) for each in layers}
    found: Mapping[tuple[str, str], Tensor] = {}
    if config.weighting == "inputs" or (config.weighting == "auto" and given.train):
        found = roots(module, names, layers, _data(config, given, 'weighting = "inputs"'))
    return {each.name: [_method(way, each, found.get((each.name, way))) for way in names[each.name]] for each in layers}


def _method(way: str, layer: Seen, root: "Tensor | None") -> Method:
    return Tucker(layer, root) if way == "channel" else Split(way, layer, root)


def _chosen(
    module: "nn.Module",
    layers: Sequence[Seen],
    methods: Mapping[str, Sequence[Method]],
    config: Factorize,
    given: Given,
) -> tuple[dict[str, Option], str]:
    """The options of the rule, and why a layer has none."""
    options = {each.name: options_of(each, methods[each.name], config.round_to) for each in layers}
    if not any(options.values()):
        return {}, "no rank saves parameters and MACs"
    if not any(options.values()):
        return {}, "no rank saves parameters and MACs"
    if config.rank_by == "energy":
        return by_energy(
            options, config.fraction
        ), f"no rank keeps {config.fraction:g} of its energy and saves anything"
    if config.importance == "sensitivity":
        options = sensitive(module, options, _data(config, given, 'importance = "sensitivity"'), given.progress)
    before = {each.name: each.cost for each in layers}
    measure, whole = _parameters, sum(parameter.numel() for parameter in module.parameters())
    if config.rank_by == "macs":
        measure, whole = _macs, total_macs(module, given.example_inputs)
    chosen = by_budget(options, before, whole, int(config.fraction * whole), measure)
    return chosen, "the budget is met without it, or no rank saves anything"


def _named(
    layers: Sequence[Seen], methods: Mapping[str, Sequence[Method]], ranks: Mapping[str, Any], left: Mapping[str, str]
) -> tuple[dict[str, Option], str]:
    """The options that the user named, where they save anything."""
    problems = [f"{name}: {left.get(name, 'no such layer')}" for name in ranks if name not in methods]
    chosen: dict[str, Option] = {}
    for each in layers:
        if each.name in ranks:
            rank = _rank(ranks[each.name])
            fitting = [method for method in methods[each.name] if len(method.full) == len(rank)]
            tops = [method.full for method in fitting] or [method.full for method in methods[each.name]]
            if not fitting or any(r > full for r, full in zip(rank, fitting[0].full, strict=True)):
                wanted = " or ".join(" and ".join(f"1…{full}" for full in top) for top in tops)
                problems.append(f"{each.name}: rank {ranks[each.name]} is out of range, wanted {wanted}")
                continue
            option = Option(fitting[0], rank, cost(fitting[0].parts(rank), each.inputs), fitting[0].loss(rank))
            if not option.cost.saves(each.cost):
                problems.append(f"{each.name}: rank {ranks[each.name]} saves no parameters or no MACs")
            chosen[each.name] = option
    if problems:
        raise BadInput("; ".join(problems))
    return chosen, "ranks does not name it"


def _data(config: Factorize, given: Given, wish: str) -> list[Batch]:
    if not given.train:
        raise BadInput(f"{wish} needs samples: give the recipe data")
    return batches(given.train, config.samples)


def _is_rank(rank: Any) -> bool:
    numbers = rank if isinstance(rank, (list, tuple)) else [rank]
    whole = all(isinstance(each, int) and not isinstance(each, bool) and each >= 1 for each in numbers)
    return whole and len(numbers) in (1, 2)


def _rank(rank: int | Sequence[int]) -> Rank:
    return (rank,) if isinstance(rank, int) else tuple(rank)


def _parameters(spent: Cost) -> int:
    return spent.parameters


def _macs(spent: Cost) -> int:
    return spent.macs


PASS = Pass("factorize", Factorize, factorize, needs={}, uses_data=True)
