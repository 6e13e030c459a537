"""What one conversion costs inside its process: CPU time and peak memory above what its imports left."""

import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from edgewright.benchmarks import memory


@dataclass(frozen=True)
class Job:
    """`source` is a file, or the name of a network where the converter starts from torch.

    `data` is an .npy of calibration samples. `warm` is a small source that is converted first, so that what a converter
    imports on first use is not counted.
    """

    source: str
    out: str
    precision: str = "float32"
    data: str | None = None
    warm: str | None = None
    layout: str = "original"

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def main(convert: Callable[[Job], None]) -> None:
    """Run the job that is the process's argument; print what it cost, or why it failed, as one line of JSON."""
    with os.fdopen(os.dup(1), "w") as answer:
        os.dup2(2, 1)
        try:
            cost: dict[str, float] | dict[str, str] = measured(convert, Job(**json.loads(sys.argv[1])))
        except (Exception, SystemExit) as error:  # whatever ends a converter is its answer
            cost = {"error": reason(error)}
        answer.write(json.dumps(cost))


def reason(error: BaseException) -> str:
    """The error and what caused it, on one line."""
    cause = error.__cause__
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return f"{text} ← {reason(cause)}" if cause is not None else text


def measured(convert: Callable[[Job], None], job: Job) -> dict[str, float]:
    """CPU seconds (of child processes too), wall seconds, bytes at the peak above those before."""
    if job.warm is not None:
        with tempfile.TemporaryDirectory() as folder:
            convert(replace(job, source=job.warm, out=str(Path(folder) / "warm.tflite")))
    gc.collect()
    before = memory.resident_bytes()
    memory.reset_peak()
    cpu, wall = cpu_seconds(), time.perf_counter()
    convert(job)
    return {
        "cpu_s": cpu_seconds() - cpu,
        "wall_s": time.perf_counter() - wall,
        "peak_bytes": memory.peak_bytes() - before,
    }


def cpu_seconds() -> float:
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system
