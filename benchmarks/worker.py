"""The measuring process: ``python -m edgewright.benchmarks.worker`` reads one JSON `Request` and writes an `Answer`.

It needs numpy and the artifact's runtime, nothing else. With several subjects it holds all of them and times them in
turn, sample by sample (A B, B A, …), so that whatever drifts hits all alike.
"""

import gc
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.benchmarks import memory
from edgewright.data import synthetic
from edgewright.devices.spec import Spec
from edgewright.errors import BadInput, Error
from edgewright.runtimes.artifact import Artifact
from edgewright.runtimes.contract import Contract
from edgewright.runtimes.runtime import Session, pick

SAMPLE_NS = 1_000_000  # one sample lasts at least this long, so that reading the clock costs nothing
WARM_UP_NS = 50_000_000
WARM_UP_CALLS = 3
WARM_UP_LIMIT_NS = 500_000_000  # a slow model is warm after fewer calls
LEAST_SAMPLES = 3


@dataclass(frozen=True)
class Subject:
    """An artifact as the worker finds it; `runtime` names one, None: the best here."""

    path: str
    spec: str
    digest: str
    trusted: bool = False
    runtime: str | None = None


@dataclass(frozen=True)
class Request:
    """`samples` of each subject, fewer (at least 3) when they would take more than `seconds` each."""

    subjects: tuple[Subject, ...]
    threads: int = 1
    samples: int = 40
    seconds: float = 3.0
    seed: int = 0

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Request":
        raw = json.loads(text)
        return cls(**(raw | {"subjects": tuple(Subject(**row) for row in raw["subjects"])}))


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one call, by sample. `cpu_ms` is the calling thread's, or with more threads the process's."""

    runtime: str
    version: str
    loops: int
    wall_ms: tuple[float, ...]
    cpu_ms: tuple[float, ...]


@dataclass(frozen=True)
class Answer:
    """Resident bytes before loading, after it, and at the peak of inference (or of all: `peak_is_of_inference`)."""

    timings: tuple[Timing, ...]
    before_bytes: int
    loaded_bytes: int
    peak_bytes: int
    peak_is_of_inference: bool

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Answer":
        raw = json.loads(text)
        timings = tuple(
            Timing(**(row | {"wall_ms": tuple(row["wall_ms"]), "cpu_ms": tuple(row["cpu_ms"])}))
            for row in raw["timings"]
        )
        return cls(**(raw | {"timings": timings}))


@dataclass(frozen=True)
class _Loaded:
    runtime: str
    version: str
    session: Session


def answer(request: Request) -> Answer:
    """Load, warm up, time. Raises BadInput where no runtime can run a subject, and what its runtime raises."""
    before = memory.resident_bytes()
    loaded = [_load(subject, request.threads) for subject in request.subjects]
    after = memory.resident_bytes()
    separate = memory.reset_peak()
    calls = [item.session.prepared(probes(item.session.contract, request.seed)) for item in loaded]
    try:
        sampled = _sample(calls, request)
    except (RuntimeError, ValueError) as error:  # how native runtimes say that a computation failed
        raise BadInput(f"{_ends(loaded, request)}: the runtime failed: {error}") from error
    timings = tuple(
        Timing(item.runtime, item.version, loops, tuple(wall), tuple(cpu))
        for item, (loops, wall, cpu) in zip(loaded, sampled, strict=True)
    )
    return Answer(timings, before, after, memory.peak_bytes(), separate)


def probes(contract: Contract, seed: int) -> dict[str, NDArray[Any]]:
    """One seeded batch for every input; an open axis has length 1."""
    return {
        info.name: np.asarray(synthetic({info.name: ((1, *info.shape), info.dtype)}, 1, seed).inputs[info.name][0])
        for info in contract.inputs
    }


def _ends(loaded: Sequence[_Loaded], request: Request) -> str:
    """The subjects and what they were fed."""
    rows = []
    for item, subject in zip(loaded, request.subjects, strict=True):
        shapes = ", ".join(
            f"{info.name} {'×'.join('1 (open)' if n is None else str(n) for n in info.shape)}"
            for info in item.session.contract.inputs
        )
        rows.append(f"{subject.path} on random {shapes}")
    return "; ".join(rows)


def _load(subject: Subject, threads: int) -> _Loaded:
    spec = Spec.parse(subject.spec)
    runtime, reason = pick(spec.format, subject.runtime, timed=True)
    if runtime is None:
        raise BadInput(f"{subject.path}: cannot run here: {reason}")
    session = runtime.load(Artifact(spec, Path(subject.path), subject.digest, subject.trusted), threads)
    return _Loaded(runtime.name, runtime.version(), session)


def _sample(calls: Sequence[Callable[[], None]], request: Request) -> list[tuple[int, list[float], list[float]]]:
    cpu_ns = time.thread_time_ns if request.threads == 1 else time.process_time_ns
    gc.disable()
    rows: list[tuple[int, list[float], list[float]]] = [(_calibrate(call), [], []) for call in calls]
    end = time.perf_counter() + request.seconds * len(calls)
    for turn in range(request.samples):
        if turn >= LEAST_SAMPLES and time.perf_counter() >= end:
            break
        for index in range(len(calls))[:: 1 if turn % 2 == 0 else -1]:
            loops, wall, cpu = rows[index]
            wall_ns, thread_ns = _time(calls[index], loops, cpu_ns)
            wall.append(wall_ns / loops / 1e6)
            cpu.append(thread_ns / loops / 1e6)
    return rows


def _calibrate(call: Callable[[], None]) -> int:
    """Warm up, then the loops (a power of two) that make one sample long enough."""
    start, done, elapsed = time.perf_counter_ns(), 0, 0
    while done == 0 or elapsed < WARM_UP_NS or (done < WARM_UP_CALLS and elapsed < WARM_UP_LIMIT_NS):
        call()
        done += 1
        elapsed = time.perf_counter_ns() - start
    loops = 1
    while _time(call, loops, time.thread_time_ns)[0] < SAMPLE_NS:
        loops *= 2
    return loops


def _time(call: Callable[[], None], loops: int, cpu_ns: Callable[[], int]) -> tuple[int, int]:
    wall, cpu = time.perf_counter_ns(), cpu_ns()
    for _ in range(loops):
        call()
    return time.perf_counter_ns() - wall, cpu_ns() - cpu


def main() -> None:
    # Native code prints on stdout too: the answer gets a descriptor of its own, and stdout joins stderr.
    with os.fdopen(os.dup(1), "w") as out:
        os.dup2(2, 1)
        try:
            reply = answer(Request.from_json(sys.stdin.read())).to_json()
        except Error as error:
            reply = json.dumps({"refusal": str(error), "kind": type(error).__name__})
        out.write(reply)


if __name__ == "__main__":
    main()
