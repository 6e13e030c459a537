"""Which operators stay in float: as few and as cheap ones as a goal allows, found by measuring.

Ranked by what each costs alone (as in HAWQ, arXiv 1905.03696, but by measured noise at the outputs), bisected on that
ranking, then tried back to int8 one by one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgewright.errors import BadModel
from edgewright.export.onnx.quantize.goal import Goal, Score
from edgewright.export.onnx.quantize.plan import CARRYING, Plan, data_inputs
from edgewright.progress import Advance

if TYPE_CHECKING:
    import onnx_ir as ir

HEAVY = ("Conv", "ConvTranspose", "Gemm", "MatMul")
CONVERSION_COST = 0.01
"""What a float operator costs beyond its MACs, as a fraction of the model's: conversions around it."""
MOST_TRIALS = 48
"""Plans that are measured to return operators to int8."""

Measure = Callable[[Mapping[str, str]], Score]


class OnlyFloat(BadModel):
    """No plan with a product or convolution in int8 meets the goal."""


@dataclass(frozen=True)
class Unit:
    """Nodes that are int8 or float together (an operator and the activation that it fuses), and what float costs.

    `noise` is the noise power / signal power at the worst output when this unit alone is in int8.
    """

    nodes: tuple[str, ...]
    macs_share: float
    noise: float

    @property
    def worth(self) -> float:
        """Noise that leaves for each cost of keeping the unit in float."""
        return self.noise / (self.macs_share + CONVERSION_COST)


@dataclass(frozen=True)
class Found:
    """Node name → why it stays float, in the order of the ranking; the plan's score; how many plans were measured."""

    keep_float: Mapping[str, str]
    score: Score
    measured: int


def units_of(plan: Plan, noise: Mapping[str, float], macs: Mapping[str, int]) -> list[Unit]:
    """The int8 operators that compute, most worth keeping in float first. `noise` and `macs` are by node name."""
    total = max(1, sum(macs.values()))
    fusing = {producer: act for act, producer in plan.fused.items()}
    units = []
    for node in plan.int8:
        if node.op_type in (*CARRYING, "Concat") or node in plan.fused:
            continue
        nodes = [node, *([fusing[node]] if node in fusing else [])]
        names = tuple(str(member.name) for member in nodes)
        share = sum(macs.get(name, 0) for name in names) / total
        units.append(Unit(names, share, max(noise.get(name, 0.0) for name in names)))
    return sorted(units, key=lambda unit: (-unit.worth, unit.nodes))


def search(units: Sequence[Unit], measure: Measure, goal: Goal, advance: Advance) -> Found:
    """The cheapest set of units in float that meets the goal. Raises OnlyFloat when only a float model would."""
    measured: dict[frozenset[Unit], Score] = {}

    def score(chosen: Sequence[Unit]) -> Score:
        key = frozenset(chosen)
        if key not in measured:
            measured[key] = measure(dict.fromkeys((name for unit in chosen for name in unit.nodes), "kept float"))
            advance(1)
        return measured[key]

    kept = list(units[: _shortest_prefix(units, score, goal)])
    gains: dict[Unit, float] = {}
    for unit in sorted(kept, key=lambda unit: (-unit.macs_share, unit.noise))[:MOST_TRIALS]:
        rest = [other for other in kept if other is not unit]
        now, without = score(kept), score(rest)
        if goal.met(without):
            kept = rest
        else:
            gains[unit] = now.snr_db - without.snr_db
    reasons = {name: _reason(unit, gains) for unit in kept for name in unit.nodes}
    return Found(reasons, score(kept), len(measured))


def without_heavy(plan: Plan) -> dict[str, str]:
    """Int8 operators that no int8 product or convolution is connected to: they would cost conversions for nothing."""
    lonely: dict[str, str] = {}
    seen: set[ir.Node] = set()
    for node in plan.int8:
        if node in seen:
            continue
        island = _island(node, plan)
        seen |= island
        if not any(member.op_type in HEAVY for member in island):
            lonely |= {str(member.name): "no int8 product or convolution beside it" for member in island}
    return dict(sorted(lonely.items()))


def _shortest_prefix(units: Sequence[Unit], score: Callable[[Sequence[Unit]], Score], goal: Goal) -> int:
    """How many of the first units must be float: a number that was measured to do, since more may score worse."""
    heavy = [index for index, unit in enumerate(units) if unit.macs_share > 0]
    low, high = 0, (heavy[-1] if heavy else len(units) - 1)  # one heavy unit at least stays int8
    best = score(units[:high])
    if not goal.met(best):
        raise OnlyFloat(
            f"mixed: {goal} needs every convolution and matrix product in float (all but the one that costs least: "
            f"{best}); allow a larger accuracy_drop or a lower snr_db, calibrate on more samples, or take float16"
        )
    while low < high:
        middle = (low + high) // 2
        if goal.met(score(units[:middle])):
            high = middle
        else:
            low = middle + 1
    return high


def _reason(unit: Unit, gains: Mapping[Unit, float]) -> str:
    return f"kept float: {gains[unit]:+.1f} dB" if unit in gains else "kept float: not tried in int8"


def _island(start: "ir.Node", plan: Plan) -> "set[ir.Node]":
    island, waiting = {start}, [start]
    while waiting:
        node = waiting.pop()
        producers = [value.producer() for value in data_inputs(node)]
        near = {
            other for other in (*producers, *node.outputs[0].consumers()) if other in plan.int8 and other is not None
        }
        waiting += near - island
        island |= near
    return island
