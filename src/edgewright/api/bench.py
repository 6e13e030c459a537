"""Measure artifacts on this machine, compare two, and judge one against devices."""

from collections.abc import Sequence
from pathlib import Path

from edgewright.api.files import open_artifact
from edgewright.api.neural_engine import neural_engine
from edgewright.benchmarks import compare as comparing
from edgewright.benchmarks import harness
from edgewright.benchmarks.arena import arena_of
from edgewright.benchmarks.fit import Fit
from edgewright.benchmarks.fit import fit as judge
from edgewright.benchmarks.measurement import Measurement
from edgewright.devices.device import device
from edgewright.devices.spec import Format
from edgewright.errors import Error
from edgewright.progress import Progress
from edgewright.runtimes.read import read


def bench(
    paths: Sequence[Path | str],
    *,
    threads: int = 1,
    runtime: str | None = None,
    trust: bool = False,
    progress: Progress | None = None,
) -> list[Measurement | Error]:
    """Latency and memory of each artifact, in fresh interleaved processes; an error in place of what could not run."""
    artifacts = [open_artifact(path, trust=trust) for path in paths]
    return harness.measure_all(artifacts, threads=threads, runtime=runtime, progress=progress)


def compare(
    a: Path | str,
    b: Path | str,
    *,
    threads: int = 1,
    runtime: str | None = None,
    trust: bool = False,
    progress: Progress | None = None,
) -> comparing.Comparison:
    """Which of two is faster here, with a verdict only outside the noise."""
    artifacts = [open_artifact(path, trust=trust) for path in (a, b)]
    return comparing.compare(artifacts[0], artifacts[1], threads=threads, runtime=runtime, progress=progress)


def fit(path: Path | str, devices: Sequence[str]) -> list[Fit]:
    """FITS, TIGHT or NO for each device, with the reason for each resource."""
    place = Path(path)
    table = read(place)
    targets = [device(name) for name in devices]
    micro = any(target.runtime == "tflite-micro" for target in targets) and place.suffix == ".tflite"
    arena = arena_of(place) if micro else None
    found = neural_engine(place) if table.format is Format.COREML else None
    return [
        judge(table, target, arena=arena if target.runtime == "tflite-micro" else None, neural_engine=found)
        for target in targets
    ]
