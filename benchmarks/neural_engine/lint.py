"""Each operation of an ML program judged by the published rules, and what that adds up to."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from edgewright.benchmarks.neural_engine.rules import hits
from edgewright.benchmarks.neural_engine.table import Eligibility, Finding, table
from edgewright.runtimes.dtypes import bits
from edgewright.runtimes.read.mil_blocks import Operation, Program, read_program
from edgewright.runtimes.read.mil_macs import operation_macs
from edgewright.runtimes.read.mil_memory import ROW_BYTES, ProgramMemory, memory_of

GENERAL = "eligible is no promise: Core ML chooses by chip, system and cost, and leaves small networks on the CPU"


@dataclass(frozen=True)
class Judged:
    """One operation; `depth` counts the blocks of control flow around it, whose MACs are of one pass."""

    name: str
    type: str
    depth: int
    shape: tuple[int | None, ...]
    dtype: str
    macs: int
    finding: Finding


@dataclass(frozen=True)
class Lint:
    """`notes` are true of the whole program: (sentence, address of its source)."""

    operations: tuple[Judged, ...]
    notes: tuple[tuple[str, str], ...]
    memory: ProgramMemory

    def macs(self, verdict: Eligibility | None = None) -> int:
        """Of the operations so judged; of all without a verdict."""
        return sum(each.macs for each in self.operations if verdict in (None, each.finding.verdict))

    @property
    def switches(self) -> int:
        """How often the program, in its order, goes from eligible to anything else or back: a hand-over each."""
        takes = [each.finding.verdict is Eligibility.ELIGIBLE for each in self.operations]
        return sum(before is not after for before, after in pairwise(takes))

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        counts = {each.value: {"operations": self.count(each), "macs": self.macs(each)} for each in Eligibility}
        return asdict(self) | {"totals": counts, "switches": self.switches}

    def count(self, verdict: Eligibility) -> int:
        return sum(each.finding.verdict is verdict for each in self.operations)


def lint(package: Path) -> Lint:
    """Raises BadModel on a damaged package, MissingExtra without coremltools."""
    program = read_program(package)
    judged = tuple(_judged(operation, around, program) for operation, around in program.walk())
    return Lint(judged, tuple(_notes(judged)), memory_of(program))


def _judged(operation: Operation, around: tuple[str, ...], program: Program) -> Judged:
    """The worst of what the operation's row and the rules say; of equals the first."""
    rules = table()
    unlisted = Finding(Eligibility.UNKNOWN, "no source speaks of it", "")
    findings = [rules.operations.get(operation.type, unlisted)]
    findings += [rules.finding(*hit) for hit in hits(operation, around, program)]
    order = list(Eligibility)
    worst = max(findings, key=lambda finding: order.index(finding.verdict))
    output = operation.outputs[0] if operation.outputs else None
    shape, dtype = (output.shape, output.dtype) if output else ((), "")
    macs = operation_macs(operation, program)
    return Judged(operation.name, operation.type, len(around), shape, dtype, macs, worst)


def _notes(judged: tuple[Judged, ...]) -> Iterator[tuple[str, str]]:
    sources = table().sources
    yield GENERAL, sources["small"]
    if any(each.type == "quantize" for each in judged):
        yield (
            "int8 activations compute in int8 only on A17 Pro, M4 and later; before, in float16",
            sources["quantization"],
        )
    heavy = [each for each in judged if each.macs]
    flat = sum(len(each.shape) != 4 for each in heavy)
    if flat:
        text = f"{flat} of {len(heavy)} convolutions and products are not on 4 axes, (B, C, 1, S), which suit it best"
        yield text, sources["transformers"]
    short = sum(0 < (each.shape[-1] or 1) * bits(each.dtype) // 8 < ROW_BYTES for each in judged if each.shape)
    if short:
        yield (
            f"{short} results have a last axis below {ROW_BYTES} bytes, which is padded to that",
            sources["transformers"],
        )
