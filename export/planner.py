"""The path from one Spec to another through the exporter graph: Dijkstra, by cost, then by name, so deterministic."""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgewright.devices.spec import Spec
from edgewright.errors import NoPath
from edgewright.export.steps import Step, steps


@dataclass(frozen=True)
class Plan:
    """The steps from `source` to every wanted Spec, each once, in an order that can run; `blocked` says why not."""

    source: Spec
    wanted: tuple[Spec, ...]
    steps: tuple[Step, ...]
    blocked: dict[Spec, str]

    def __str__(self) -> str:
        """One line a path, then the blocked ones with their reasons."""
        lines = []
        for spec in self.wanted:
            if spec in self.blocked:
                lines.append(f"  {spec}  blocked: {self.blocked[spec]}")
            else:
                hops = [str(self.source)] + [f"─{step.name}→ {step.target}" for step in self.path(spec)]
                lines.append("  " + " ".join(hops))
        return "\n".join(lines)

    def path(self, target: Spec) -> list[Step]:
        """The steps that lead to `target`, in order."""
        into = {step.target: step for step in self.steps}
        hops: list[Step] = []
        while target != self.source:
            hops.insert(0, into[target])
            target = into[target].source
        return hops


def plan(source: Spec, wanted: Iterable[Spec], known: Sequence[Step] | None = None, *, has_data: bool = True) -> Plan:
    """Find the cheapest steps. A Spec that cannot be reached is in `blocked` with the reason.

    Raises NoPath when none of the wanted Specs can be reached, saying what can, and what blocks the rest.
    """
    known = steps() if known is None else known
    reasons = {step: _obstacle(step, has_data) for step in known}
    into = _cheapest(source, [step for step in known if reasons[step] is None])
    targets = tuple(dict.fromkeys(wanted))
    blocked = {spec: _why(source, spec, reasons) for spec in targets if spec != source and spec not in into}
    chosen: dict[Spec, Step] = {}
    for spec in targets:
        while spec != source and spec in into and spec not in chosen:
            chosen[spec] = into[spec]
            spec = into[spec].source
    if targets and len(blocked) == len(targets):
        reach = ", ".join(str(spec) for spec in sorted(into)) or "nothing"
        why = "\n".join(f"  {spec}: {reason}" for spec, reason in blocked.items())
        raise NoPath(f"no way from {source}:\n{why}\nFrom {source} one can reach: {reach}.")
    return Plan(source, targets, _in_order(source, chosen), blocked)


def _obstacle(step: Step, has_data: bool) -> str | None:
    if step.uses_data is True and not has_data:
        return "needs samples to calibrate: give --data"
    return step.missing()


def _cheapest(source: Spec, usable: Sequence[Step]) -> dict[Spec, Step]:
    """For every Spec that can be reached, the last step of its cheapest path."""
    into: dict[Spec, Step] = {}
    queue: list[tuple[float, str, Spec, Step | None]] = [(0.0, "", source, None)]
    done: set[Spec] = set()
    while queue:
        cost, names, spec, last = heapq.heappop(queue)
        if spec in done:
            continue
        done.add(spec)
        if last is not None:
            into[spec] = last
        for step in usable:
            if step.source == spec and step.target not in done:
                heapq.heappush(queue, (cost + step.cost, f"{names}>{step.name}", step.target, step))
    return into


def _why(source: Spec, target: Spec, reasons: dict[Step, str | None]) -> str:
    """The obstacles on the cheapest path that would exist if nothing were missing."""
    into = _cheapest(source, list(reasons))
    if target not in into:
        return "no step makes it"
    obstacles: list[str] = []
    while target != source:
        step = into[target]
        if reasons[step] is not None:
            obstacles.insert(0, f"step {step.name} {reasons[step]}")
        target = step.source
    return "; ".join(obstacles)


def _in_order(source: Spec, chosen: dict[Spec, Step]) -> tuple[Step, ...]:
    ordered: list[Step] = []
    made = {source}
    waiting = sorted(chosen.values(), key=lambda step: (step.cost, step.name))
    while waiting:
        ready = next(step for step in waiting if step.source in made)
        waiting.remove(ready)
        ordered.append(ready)
        made.add(ready.target)
    return tuple(ordered)
