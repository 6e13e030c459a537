"""Neuron pruning: remove whole channels by what they are worth, through every layer that depends on them."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from edgewright.compress.passes import Given, Pass
from edgewright.edits import Edit, difference
from edgewright.errors import BadInput, nearest

if TYPE_CHECKING:
    from torch import nn

CRITERIA = ("l1", "l2", "bn", "apoz", "activation", "taylor")
SCOPES = ("layer", "global")
TARGETS = ("channels", "macs", "parameters", "cost")


@dataclass(frozen=True)
class Prune:
    """`amount` of the `target` goes: of the channels, or channels until that part of MACs, parameters or cost is gone.

    The least worthy by `criterion` go: in every layer alike (`scope` "layer") or wherever they are ("global"; never
    more than `most` of one layer). The channels that stay are rounded up to a multiple of `round_to`. In more than one
    of `steps`, each but the last is followed by fine-tuning. Criteria on data read `samples` samples of the train part.
    Layers named in `keep`, and below them, are left alone.
    """

    amount: float = 0.5
    target: str = "channels"
    criterion: str = "l1"
    scope: str = "layer"
    steps: int = 1
    round_to: int = 1
    most: float = 0.9
    samples: int = 512
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        problems = []
        for name, value in (("amount", self.amount), ("most", self.most)):
            if not 0 < value < 1:
                problems.append(f"{name} is {value}, wanted a fraction between 0 and 1")
        for name, text, known in (
            ("target", self.target, TARGETS),
            ("criterion", self.criterion, CRITERIA),
            ("scope", self.scope, SCOPES),
        ):
            if text not in known:
                problems.append(f"{name} is {text!r}; {nearest(text, known)}")
        for name, count in (("round_to", self.round_to), ("steps", self.steps), ("samples", self.samples)):
            if count < 1:
                problems.append(f"{name} is {count}, wanted 1 or more")
        if problems:
            raise BadInput("prune: " + "; ".join(problems))


def prune_channels(module: "nn.Module", config: Prune, given: Given) -> "tuple[nn.Module, Edit]":
    """A copy of `module` with fewer channels, and the edit that replays its structure. The outputs keep their size.

    The edit's `left` says of layers whose channels all stay why. Gradual pruning (`steps`) after Han et al. 2015 (arXiv
    1506.02626). Raises BadInput when `keep` names no layer, nothing can be removed, the target is out of reach, or
    `given` lacks what the settings need (cost, fine-tuning, samples).
    """
    _check(config, given)
    pruned = copy.deepcopy(module).eval()
    measure = _measures(given).get(config.target)
    whole = 0.0 if measure is None else measure(pruned)
    left: Mapping[str, str] = {}
    for step in range(1, config.steps + 1):
        before, after = (1 - config.amount * done / config.steps for done in (step - 1, step))
        left = _prune_once(pruned, config, given, 1 - after / before, whole * after)
        if step < config.steps:
            assert given.train is not None and given.validation is not None and given.finetune is not None
            given.fit(pruned, given.train, given.validation, given.finetune, given.progress)
            pruned.eval()
    resized = difference(module, pruned)
    if not resized:
        reasons = "".join(f"; {name}: {reason}" for name, reason in left.items())
        raise BadInput(
            f"prune: no channel can be removed at amount {config.amount}, round_to {config.round_to}{reasons}"
        )
    return pruned, Edit("prune", asdict(config), resized, left=left)


def _prune_once(module: "nn.Module", config: Prune, given: Given, share: float, limit: float) -> Mapping[str, str]:
    """Remove `share` of the channels, or as many as bring the target down to `limit`, in place. Gives who is left."""
    from edgewright.compress.pruning.amounts import choose, share_for
    from edgewright.compress.pruning.coupling import couplings, remove
    from edgewright.compress.pruning.criteria import scores

    found, left = couplings(module, tuple(given.example_inputs.values()), config.keep)
    worths, why_none = scores(module, found, config.criterion, given, config.samples)
    left |= {coupled.name: why_none for coupled, worth in zip(found, worths, strict=True) if worth is None}
    rated = [(coupled, worth) for coupled, worth in zip(found, worths, strict=True) if worth is not None]
    measure = _measures(given).get(config.target)
    if not rated:
        return left

    def cut(target: "nn.Module", part: float) -> None:
        everywhere = config.scope == "global"
        remove(target, choose(rated, part, everywhere=everywhere, most=config.most, round_to=config.round_to))

    def spent(part: float) -> float:
        trial = copy.deepcopy(module)
        cut(trial, part)
        assert measure is not None
        return measure(trial)

    cut(module, share if measure is None else share_for(spent, limit, config.target))
    return left


def _measures(given: Given) -> "Mapping[str, Callable[[nn.Module], float]]":
    from edgewright.compress.pruning.amounts import macs_of, parameters_of

    known = {"parameters": parameters_of, "macs": lambda module: macs_of(module, given.example_inputs)}
    return known | ({"cost": given.cost} if given.cost is not None else {})


def _check(config: Prune, given: Given) -> None:
    problems = []
    if config.target == "cost" and given.cost is None:
        problems.append("target 'cost' needs a function that gives a module's cost")
    if config.steps > 1 and (given.train is None or given.validation is None or given.finetune is None):
        problems.append(f"{config.steps} steps need fine-tuning between them: give finetune, and data to learn from")
    if problems:
        raise BadInput("prune: " + "; ".join(problems))


PASS = Pass("prune", Prune, prune_channels, needs={"torch-pruning": "torch"}, uses_data=True)
