"""Which rank each layer gets: by the energy to keep, or so that a budget is met with the least error."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from edgewright.compress.factors.layers import Seen
from edgewright.compress.factors.method import Method, Rank
from edgewright.compress.factors.parts import Cost, cost
from edgewright.errors import BadInput


@dataclass(frozen=True)
class Option:
    """A layer at one rank of one method. `error` is what the layer's output loses, in units that add up over layers."""

    method: Method
    rank: Rank
    cost: Cost
    error: float


Options = Mapping[str, Sequence[Option]]
"""By layer."""


def options_of(seen: Seen, methods: Sequence[Method], round_to: int) -> list[Option]:
    """Every rank that saves parameters and MACs; ranks below the full one are multiples of `round_to`."""
    found = []
    for method in methods:
        for rank in method.ranks():
            if all(each % round_to == 0 or each == full for each, full in zip(rank, method.full, strict=True)):
                spent = cost(method.parts(rank), seen.inputs)
                if spent.saves(seen.cost):
                    found.append(Option(method, rank, spent, method.loss(rank)))
    return found


def by_energy(options: Options, energy: float) -> dict[str, Option]:
    """For each layer the fewest MACs, then parameters, that keep this share of the energy; a layer may have none."""
    kept = {name: [each for each in rows if each.error <= 1 - energy] for name, rows in options.items()}
    return {
        name: min(rows, key=lambda each: (each.cost.macs, each.cost.parameters)) for name, rows in kept.items() if rows
    }


def by_budget(
    options: Options, before: Mapping[str, Cost], whole: int, budget: int, measure: Callable[[Cost], int]
) -> dict[str, Option]:
    """The options that bring `whole` down to `budget`, taking first the steps that lose least for what they save.

    Steps run along the lower convex hull of each layer's error over its cost, so a greedy order is the best one up to
    its last step. Raises BadInput with the smallest reachable figure where the budget is out of reach.
    """
    steps = [step for name, rows in options.items() for step in _steps(name, rows, measure(before[name]), measure)]
    chosen: dict[str, Option] = {}
    total = whole
    for _, name, option in sorted(steps, key=lambda step: step[0]):
        if total <= budget:
            break
        held = measure(chosen[name].cost if name in chosen else before[name])
        chosen[name] = option
        total += measure(option.cost) - held
        if total <= budget:
            room = budget - (total - measure(option.cost))
            chosen[name] = min((o for o in options[name] if measure(o.cost) <= room), key=lambda o: o.error)
    if total > budget:
        raise BadInput(f"the budget leaves {budget:,} of {whole:,}, but no ranks come below {total:,}")
    return chosen


def _steps(
    name: str, rows: Sequence[Option], start: int, measure: Callable[[Cost], int]
) -> list[tuple[float, str, Option]]:
    """(error added for each unit saved, layer, option), rising."""
    hull: list[tuple[float, float, Option | None]] = [(start, 0.0, None)]
    for option in sorted(rows, key=lambda o: (-measure(o.cost), o.error)):
        point = (measure(option.cost), option.error, option)
        if point[0] >= hull[-1][0]:
            continue
        while len(hull) > 1 and _slope(hull[-2], hull[-1]) >= _slope(hull[-2], point):
            hull.pop()
        if point[0] < hull[-1][0]:
            hull.append(point)
    return [(_slope(left, right), name, right[2]) for left, right in pairwise(hull) if right[2] is not None]


def _slope(left: tuple[float, float, Option | None], right: tuple[float, float, Option | None]) -> float:
    return (right[1] - left[1]) / (left[0] - right[0])
