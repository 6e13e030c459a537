"""How many channels go, and which: a share of each layer or of all, or as many as a target takes."""

from collections.abc import Callable, Mapping, Sequence
from math import ceil, gcd

import torch
from torch import Tensor, nn

from edgewright.compress.pruning.coupling import Coupled
from edgewright.errors import BadInput

HALVINGS = 10
"""A target is met to about a thousandth of the channels."""


def choose(
    found: Sequence[tuple[Coupled, Tensor]], share: float, *, everywhere: bool, most: float, round_to: int
) -> list[tuple[Coupled, list[int]]]:
    """The least worthy `share` of the units of each coupling, or of all couplings together (`everywhere`).

    No coupling loses more than `most` of its units, nor the last one. What stays is rounded up to a multiple of
    `round_to` channels.
    """
    counts = {index: round(share * len(worth)) for index, (_, worth) in enumerate(found)}
    if everywhere:
        owners = torch.cat([torch.full((len(worth),), index) for index, (_, worth) in enumerate(found)])
        order = torch.sort(torch.cat([worth for _, worth in found]), stable=True).indices
        gone = owners[order[: round(share * len(order))]].tolist()
        counts = {index: gone.count(index) for index in counts}
    chosen = []
    for index, (coupled, worth) in enumerate(found):
        count = _rounded(min(counts[index], int(most * len(worth))), coupled, round_to)
        chosen.append((coupled, sorted(torch.sort(worth, stable=True).indices[:count].tolist())))
    return chosen


def _rounded(count: int, coupled: Coupled, round_to: int) -> int:
    """The units that go, so that channels in a multiple of `round_to` stay."""
    units = len(coupled.units)
    step = round_to // gcd(round_to, len(coupled.units[0]))
    return units - min(units, max(1, ceil((units - count) / step)) * step)


def share_for(spent: Callable[[float], float], limit: float, what: str) -> float:
    """The smallest share of channels whose removal leaves at most `limit` of what is spent, by halving.

    `spent` falls as the share grows. Raises BadInput where the target is out of reach, saying how far it goes.
    """
    low, high = 0.0, 1.0
    least = spent(high)
    if least > limit:
        raise BadInput(f"prune: {what} cannot fall to {limit:.4g}: with all removable channels gone {least:.4g} stay")
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if spent(middle) <= limit else (middle, high)
    return high


def parameters_of(module: nn.Module) -> float:
    return float(sum(parameter.numel() for parameter in module.parameters()))


def macs_of(module: nn.Module, examples: Mapping[str, Tensor]) -> float:
    """Multiply-accumulates of one call on the examples: convolutions and matrix products."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(*examples.values())
    return float(counter.get_total_flops()) / 2
