"""Whether an artifact fits a device: FITS, TIGHT or NO, a line of reason a resource, a standing for every figure."""

from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from edgewright.benchmarks.arena import Arena
from edgewright.benchmarks.measurement import Measurement
from edgewright.benchmarks.neural_engine.lint import Lint
from edgewright.benchmarks.neural_engine.table import Eligibility
from edgewright.benchmarks.units import bytes_text, ms_text, percent_text
from edgewright.devices.device import Budget, Device, Figure
from edgewright.devices.spec import Spec
from edgewright.runtimes.read.memory import activation_peak_bytes
from edgewright.runtimes.read.model import Model

TIGHT_ABOVE = 0.8


class Verdict(StrEnum):
    """From good to bad. UNKNOWN: a budget asks for a figure that nobody has."""

    FITS = "FITS"
    TIGHT = "TIGHT"
    UNKNOWN = "UNKNOWN"
    NO = "NO"


@dataclass(frozen=True)
class Line:
    """`standing` is that of the needed figure: measured, modelled, published or assumed. `verdict` None: not judged."""

    resource: str
    verdict: Verdict | None
    reason: str
    standing: str


@dataclass(frozen=True)
class Fit:
    device: str
    spec: str
    verdict: Verdict
    lines: tuple[Line, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self) | {"lines": [asdict(line) for line in self.lines]}


@dataclass(frozen=True)
class _Limit:
    value: float
    standing: str


def fit(
    model: Model,
    device: Device,
    measurement: Measurement | None = None,
    *,
    accuracy_drop: float | None = None,
    unverified: str | None = None,
    budget: Budget | None = None,
    arena: Arena | None = None,
    neural_engine: Lint | None = None,
) -> Fit:
    """Judge what `read` found in a file against a device, and against the user's budget where one is set.

    `accuracy_drop` is a fraction; `unverified` says why it could not be measured here: then accuracy is stated as such
    and not judged. `arena` is what tflite-micro asked for (`arena_of`); without it, and for other
    runtimes, RAM is modelled: live activations, and the weights where the device holds them in RAM. With
    `neural_engine`, of a Core ML package, two lines more: compressed weights decoded, and what is eligible.
    """
    spec = Spec(model.format, model.precision)
    budget = budget or Budget()
    if spec not in device.accepts:
        return Fit(device.name, str(spec), Verdict.NO, (_refused(spec, device),))
    lines = [_storage(model, device, budget), _ram(model, device, budget, arena), _latency(device, measurement, budget)]
    if neural_engine is not None:
        lines += _of_program(neural_engine, device, budget)
    if unverified is not None:
        lines.append(Line("accuracy", None, f"unverified: {unverified}", "unverified"))
    elif accuracy_drop is not None or budget.accuracy_drop is not None:
        lines.append(_accuracy(accuracy_drop, budget))
    order = list(Verdict)
    worst = max((line.verdict for line in lines if line.verdict is not None), key=order.index)
    return Fit(device.name, str(spec), worst, tuple(lines))


def _refused(spec: Spec, device: Device) -> Line:
    precisions = [other.precision.value for other in device.accepts if other.format == spec.format]
    formats = dict.fromkeys(other.format.value for other in device.accepts)
    loads = f"{spec.format.value} at {', '.join(precisions)}" if precisions else ", ".join(f"{f}:…" for f in formats)
    return Line("format", Verdict.NO, f"{device.name} loads {loads}, not {spec}", "measured")


def _storage(model: Model, device: Device, budget: Budget) -> Line:
    limit = _limit(device.storage_bytes, budget.size_bytes)
    return _bytes_line("storage", model.size_bytes, "measured", limit)


def _ram(model: Model, device: Device, budget: Budget, arena: Arena | None) -> Line:
    limit = _limit(device.ram_bytes, budget.ram_bytes)
    if arena is not None and device.runtime == "tflite-micro":
        if arena.bytes is None:
            return Line("RAM", Verdict.NO, arena.problem, "measured")
        return _bytes_line("RAM", arena.bytes, "measured", limit, "tensor arena, on a 64-bit host")
    activations = activation_peak_bytes(model)
    open_ends = any(None in model.tensors[name].shape for name in model.inputs)
    note = "; lengths that are not fixed taken as 1" if open_ends else ""
    if not device.weights_in_ram:
        return _bytes_line("RAM", activations, "modelled", limit, f"activations; weights stay in flash{note}")
    parts = f"activations {bytes_text(activations)} + weights {bytes_text(model.parameter_bytes)}{note}"
    return _bytes_line("RAM", activations + model.parameter_bytes, "modelled", limit, parts)


def _of_program(found: Lint, device: Device, budget: Budget) -> list[Line]:
    """Weights that a runtime decodes when it loads them may not fit: TIGHT, since it may as well stream them."""
    memory, lines = found.memory, []
    if device.weights_in_ram and memory.weights_unpacked_bytes > memory.weights_stored_bytes:
        parts = f"where weights are decoded to {bytes_text(memory.weights_unpacked_bytes)} at loading"
        limit = _limit(device.ram_bytes, budget.ram_bytes)
        line = _bytes_line("RAM, decoded", memory.unpacked_bytes, "modelled", limit, parts)
        lines.append(replace(line, verdict=Verdict.TIGHT) if line.verdict is Verdict.NO else line)
    share = percent_text(found.macs(Eligibility.ELIGIBLE) / (found.macs() or 1))
    count = f"{found.count(Eligibility.ELIGIBLE)} of {len(found.operations)} operations"
    text = f"{share} of the MACs eligible ({count}), {found.switches} hand-overs; eligible is no promise"
    return [*lines, Line("Neural Engine", None, text, "published")]


def _latency(device: Device, measurement: Measurement | None, budget: Budget) -> Line:
    missing = f"latency on {device.name} is not modelled yet"
    if measurement is not None:
        missing += f" ({ms_text(measurement.median_ms)} on the measuring host, another machine)"
    if budget.latency_ms is None:
        return Line("latency", None, missing, "modelled")
    return Line("latency", Verdict.UNKNOWN, f"your budget of {ms_text(budget.latency_ms)}: {missing}", "modelled")


def _accuracy(drop: float | None, budget: Budget) -> Line:
    if drop is None:
        return Line("accuracy", Verdict.UNKNOWN, "your budget asks for accuracy, which was not measured", "measured")
    text = f"{100 * drop:.1f} points below the original (measured)"
    if budget.accuracy_drop is None:
        return Line("accuracy", None, text, "measured")
    verdict = Verdict.NO if drop > budget.accuracy_drop else Verdict.FITS
    return Line("accuracy", verdict, f"{text}, your budget is {100 * budget.accuracy_drop:.1f}", "measured")


def _limit(figure: Figure, budget: int | None) -> _Limit:
    if budget is not None and budget < figure.value:
        return _Limit(budget, "your budget")
    return _Limit(figure.value, figure.standing)


def _bytes_line(resource: str, need: int, standing: str, limit: _Limit, parts: str = "") -> Line:
    share = need / limit.value
    verdict = Verdict.NO if share > 1 else Verdict.TIGHT if share > TIGHT_ABOVE else Verdict.FITS
    how = f"{standing}: {parts}" if parts else standing
    reason = f"{bytes_text(need)} ({how}) of {bytes_text(limit.value)} ({limit.standing}): {percent_text(share)}"
    return Line(resource, verdict, reason, standing)
