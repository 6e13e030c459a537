"""Where a measurement runs: a `Host` answers a worker's request and says what machine it is."""

import json
import os
import platform
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgewright.benchmarks.worker import Answer, Request
from edgewright.errors import BadData, BadInput, BadModel, Error, NotTrusted, WorkerFailed

REFUSALS: tuple[type[Error], ...] = (BadInput, BadModel, BadData, NotTrusted)
TAIL_LINES = 12


@dataclass(frozen=True)
class Fingerprint:
    """What a figure depends on: never compare two measurements of different fingerprints."""

    cpu: str
    cores: int
    system: str
    machine: str
    python: str
    governor: str | None = None


class Host(Protocol):
    def fingerprint(self) -> Fingerprint: ...

    def ask(self, request: Request) -> Answer:
        """Run the request in a fresh process. Raises WorkerFailed when it dies, or the Error with which it refused."""
        ...


@dataclass(frozen=True)
class Local:
    """This machine. `timeout_s` ends a worker that hangs."""

    timeout_s: float = 600.0

    def fingerprint(self) -> Fingerprint:
        return Fingerprint(
            cpu=_cpu_model(),
            cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
            system=f"{platform.system()} {platform.release()}",
            machine=platform.machine(),
            python=platform.python_version(),
            governor=_read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        )

    def ask(self, request: Request) -> Answer:
        threads = str(request.threads)
        # The worker finds what this process finds (a factory beside the user's script, an edgewright in a zip).
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
            "OMP_NUM_THREADS": threads,
            "OPENBLAS_NUM_THREADS": threads,
        }
        command = [sys.executable, "-m", "edgewright.benchmarks.worker"]
        what = ", ".join(subject.path for subject in request.subjects)
        try:
            done = subprocess.run(
                command,
                input=request.to_json(),
                capture_output=True,
                text=True,
                timeout=self.timeout_s,
                env=environment,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise WorkerFailed(
                f"measuring {what}: no answer within {self.timeout_s:g} s; the worker was ended"
            ) from None
        if done.returncode != 0:
            raise WorkerFailed(f"measuring {what}: the worker {_ending(done.returncode)}{_tail(done.stderr)}")
        return _parsed(done.stdout, what)


def _parsed(reply: str, what: str) -> Answer:
    try:
        raw = json.loads(reply.splitlines()[-1])
    except (ValueError, IndexError):
        raise WorkerFailed(f"measuring {what}: the worker answered no JSON: {reply[:200]!r}") from None
    if "refusal" in raw:
        kind = next((kind for kind in REFUSALS if kind.__name__ == raw["kind"]), Error)
        raise kind(raw["refusal"])
    return Answer.from_json(reply.splitlines()[-1])


def _ending(code: int) -> str:
    if code > 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name
    hint = " (the system ends a process so when memory runs out)" if name == "SIGKILL" else ""
    return f"was killed by {name}{hint}"


def _tail(stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if line.strip()]
    return "".join(f"\n  {line}" for line in lines[-TAIL_LINES:])


def _cpu_model() -> str:
    for line in (_read("/proc/cpuinfo") or "").splitlines():
        if line.startswith(("model name", "Model")):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None
