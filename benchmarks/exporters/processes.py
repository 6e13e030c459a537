"""One conversion in a fresh process: what it cost inside, and as a whole process."""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgewright.benchmarks.exporters.drivers.probe import Job
from edgewright.benchmarks.exporters.environments import DRIVERS, OURS, interpreter_of
from edgewright.errors import BadInput

SOURCE = Path(__file__).parents[3]
"""The folder from which `edgewright` is imported: a peer's environment does not have it installed."""

REASON = 240


@dataclass(frozen=True)
class Whole:
    """CPU (with child processes) and wall seconds of a whole process, and what it printed."""

    cpu_s: float
    wall_s: float
    output: str


@dataclass(frozen=True)
class Cost:
    """Of the conversion alone, behind its imports, and of the whole process."""

    cpu_s: float
    wall_s: float
    peak_bytes: int
    whole: Whole


def converted(converter: str, job: Job, environments: Path) -> Cost:
    """Run the job. Raises BadInput with the converter's own reason when it fails."""
    python = interpreter_of(converter, environments)
    module = f"edgewright.benchmarks.exporters.drivers.{DRIVERS[converter]}"
    Path(job.out).unlink(missing_ok=True)
    whole = run([str(python), "-m", module, job.to_json()])
    answer = json.loads(whole.output)
    if "error" in answer:
        raise BadInput(answer["error"][:REASON])
    if not Path(job.out).exists():
        raise BadInput("it wrote nothing")
    return Cost(answer["cpu_s"], answer["wall_s"], answer["peak_bytes"], whole)


def command_line(words: Sequence[str]) -> Whole:
    """Our command line, as a user calls it."""
    return run([str(interpreter_of(OURS, Path())), "-m", "edgewright", *words])


def run(command: Sequence[str]) -> Whole:
    """With one thread. Raises BadInput with its last words when it fails."""
    environment = os.environ | {"PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as said:
        started = time.perf_counter()
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=said)
        _, status, spent = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        said.seek(0)
        if process.returncode:
            last = " ".join(said.read().split())[-REASON:]
            raise BadInput(f"ended with code {process.returncode}: {last}")
        return Whole(spent.ru_utime + spent.ru_stime, wall, out.read())
