"""What a Mac answered to the families of operations, as text."""

from collections.abc import Iterator

from edgewright.benchmarks.mac.goldens import EVALUATOR
from edgewright.benchmarks.mac.results import CaseResult, MacResults, OnUnit

WORST_SHOWN = 3


def page(results: MacResults) -> str:
    """A Markdown table: for each package and choice of units how near it is to the evaluator, worst outputs first."""
    machine = results.machine
    head = [
        f"Measured on {machine}, coremltools {machine.coremltools}, {machine.measured}.",
        "",
        "| package | units | median ms | operations by device | SNR to the evaluator, worst outputs |",
        "|---|---|---|---|---|",
    ]
    return "\n".join([*head, *(line for case in results.cases for line in _lines(case)), ""])


def _lines(case: CaseResult) -> Iterator[str]:
    for unit in case.units:
        if unit.error:
            yield f"| {case.name} | {unit.unit} | | | {unit.error} |"
            continue
        devices = ", ".join(f"{name} {count}" for name, count in sorted(unit.devices.items())) or unit.placement_error
        yield f"| {case.name} | {unit.unit} | {unit.median_ms:.3f} | {devices} | {_worst(unit)} |"


def _worst(unit: OnUnit) -> str:
    ordered = sorted(unit.against[EVALUATOR].outputs_db.items(), key=lambda pair: pair[1])
    return ", ".join(f"{name.removeprefix('out_')} {snr_db:.1f} dB" for name, snr_db in ordered[:WORST_SHOWN])
