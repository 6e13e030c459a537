"""Which of two artifacts is faster: both in one process, in turn, decided on the ratios of neighbours.

With one thread the thread's CPU time decides, which noisy neighbours hardly touch; with more threads, wall time.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgewright.benchmarks.bootstrap import median_interval
from edgewright.benchmarks.harness import SAMPLES, subject
from edgewright.benchmarks.hosts import Fingerprint, Host, Local
from edgewright.benchmarks.worker import Answer, Request
from edgewright.progress import Progress, Silent
from edgewright.runtimes.artifact import Artifact

PROCESSES = 5
NOISE = 0.01
"""A ratio nearer to 1 than this is no difference: the same file in both arms was seen 0.3 % off in CPU time."""


@dataclass(frozen=True)
class Comparison:
    """`ratio` is time of A over time of B: above 1, B is faster. `interval` is its 95 % bootstrap interval."""

    a: str
    b: str
    runtime_a: str
    runtime_b: str
    clock: str
    ratio: float
    interval: tuple[float, float]
    median_ms: tuple[float, float]
    pairs: int
    threads: int
    host: Fingerprint

    @property
    def faster(self) -> str | None:
        """'A', 'B', or None within the noise: the whole interval must lie beyond it."""
        low, high = self.interval
        if low > 1 + NOISE:
            return "B"
        return "A" if high < 1 / (1 + NOISE) else None

    def to_dict(self) -> dict[str, Any]:
        """JSON values, the verdict among them."""
        return asdict(self) | {"faster": self.faster, "verdict": self.verdict}

    @property
    def verdict(self) -> str:
        low, high = self.interval
        if self.faster is None:
            return f"no difference beyond the noise: A takes {self.ratio:.3f}× B [{low:.3f}, {high:.3f}] ({self.clock})"
        ratio, low, high = (self.ratio, low, high) if self.faster == "B" else (1 / self.ratio, 1 / high, 1 / low)
        return f"{self.faster} is {ratio:.2f}× faster [{low:.2f}, {high:.2f}] ({self.clock})"


def compare(
    a: Artifact,
    b: Artifact,
    *,
    processes: int = PROCESSES,
    samples: int = SAMPLES,
    threads: int = 1,
    runtime: str | None = None,
    progress: Progress | None = None,
    host: Host | None = None,
) -> Comparison:
    """Time A and B in turn in each of `processes` fresh processes. Raises what `measure` raises."""
    host = host or Local()
    pair = (subject(a, runtime), subject(b, runtime))
    answers = []
    with (progress or Silent()).task("compare", processes) as advance:
        for turn in range(processes):
            # Which one is loaded first changes too: it decides who gets which addresses.
            answer = host.ask(Request(pair[:: 1 if turn % 2 == 0 else -1], threads, samples))
            answers.append(answer if turn % 2 == 0 else _swapped(answer))
            advance(1)
    return judge(a.path.name, b.path.name, answers, threads, host.fingerprint())


def judge(a: str, b: str, answers: list[Answer], threads: int, host: Fingerprint) -> Comparison:
    """The comparison that answers of (A, B) amount to."""
    of_cpu = threads == 1
    times = [tuple(np.asarray(t.cpu_ms if of_cpu else t.wall_ms) for t in answer.timings) for answer in answers]
    ratios = [first / second for first, second in times]
    timings = answers[0].timings
    return Comparison(
        a=a,
        b=b,
        runtime_a=timings[0].runtime,
        runtime_b=timings[1].runtime,
        clock="thread CPU time" if of_cpu else "wall time",
        ratio=float(np.median(np.concatenate(ratios))),
        interval=median_interval([group.tolist() for group in ratios]),
        median_ms=(_median([first for first, _ in times]), _median([second for _, second in times])),
        pairs=sum(len(group) for group in ratios),
        threads=threads,
        host=host,
    )


def _median(groups: list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]]) -> float:
    return float(np.median(np.concatenate(groups)))


def _swapped(answer: Answer) -> Answer:
    first, second = answer.timings
    return Answer(
        (second, first), answer.before_bytes, answer.loaded_bytes, answer.peak_bytes, answer.peak_is_of_inference
    )
