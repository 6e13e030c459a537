"""What the published rules say of a Core ML package and the Neural Engine, and what it asks of memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgewright.devices.device import devices
from edgewright.errors import BadInput

if TYPE_CHECKING:
    from edgewright.benchmarks.neural_engine.lint import Lint
    from edgewright.runtimes.read.mil_memory import ProgramMemory


@dataclass(frozen=True)
class Budgeted:
    """How much of one device's RAM budget the package takes with every weight decoded; `standing`: of the budget."""

    device: str
    needed_bytes: int
    budget_bytes: int
    standing: str


def neural_engine(path: Path | str) -> "Lint":
    """Each operation eligible, not, or unknown, with its source. Raises BadInput for anything but an .mlpackage."""
    from edgewright.benchmarks.neural_engine.lint import lint

    return lint(coreml_package(path))


def budgets(memory: "ProgramMemory") -> Iterator[Budgeted]:
    """For every device of the profiles that runs Core ML."""
    for device in devices().values():
        if device.runtime == "coreml":
            limit = device.ram_bytes
            yield Budgeted(device.name, memory.unpacked_bytes, int(limit.value), limit.standing)


def coreml_package(path: Path | str) -> Path:
    place = Path(path)
    if place.suffix != ".mlpackage" or not place.is_dir():
        raise BadInput(f"{path}: not an .mlpackage, which is what Core ML's tools are for")
    return place
