"""How `inspect --neural-engine` shows what the published rules say, and the memory of a package."""

import dataclasses
from typing import TYPE_CHECKING

from edgewright.benchmarks.units import bytes_text, percent_text
from edgewright.cli.console import lengths_text, table

if TYPE_CHECKING:
    from edgewright.benchmarks.neural_engine.lint import Lint
    from edgewright.runtimes.read.mil_memory import ProgramMemory


def neural_engine_document(found: "Lint") -> dict[str, object]:
    from edgewright.api.neural_engine import budgets

    return found.to_dict() | {"devices": [dataclasses.asdict(device) for device in budgets(found.memory)]}


def show_neural_engine(found: "Lint") -> None:
    from edgewright.benchmarks.neural_engine.table import Eligibility

    heads = ("operation", "result", "shape", ">MACs", "Neural Engine", "reason")
    rows = []
    for each in found.operations:
        indented, shape = "  " * each.depth + each.type, f"{lengths_text(each.shape)} {each.dtype}"
        rows.append((indented, each.name, shape, f"{each.macs:,}", each.finding.verdict, each.finding.reason))
    table("", heads, rows)
    print()
    for kind in Eligibility:
        share = percent_text(found.macs(kind) / (found.macs() or 1))
        print(f"{kind}: {found.count(kind)} operations, {share} of the MACs")
    print(f"hand-overs in the program's order: {found.switches}")
    _show_memory(found.memory)
    for text, source in found.notes:
        print(f"note: {text} ({source})")
    for reason, source in dict.fromkeys((each.finding.reason, each.finding.source) for each in found.operations):
        print(f"source of {reason!r}: {source or 'none'}")


def _show_memory(memory: "ProgramMemory") -> None:
    from edgewright.api.neural_engine import budgets

    stored, decoded = bytes_text(memory.weights_stored_bytes), bytes_text(memory.weights_unpacked_bytes)
    print(f"weights: {stored} stored, {decoded} with all of them decoded")
    aligned = bytes_text(memory.aligned_activations_bytes)
    print(
        f"activations at their peak (modelled): {bytes_text(memory.activations_bytes)}; {aligned} in rows of 64 bytes"
    )
    if memory.states_bytes:
        print(f"states: {bytes_text(memory.states_bytes)}")
    for device in budgets(memory):
        budget = f"{bytes_text(device.budget_bytes)} ({device.standing})"
        share = percent_text(device.needed_bytes / device.budget_bytes)
        print(f"{device.device}: {bytes_text(device.needed_bytes)} in all, of {budget}: {share}")
