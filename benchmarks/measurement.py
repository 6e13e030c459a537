"""How fast and how big an artifact ran: a `Measurement`, with the interval that its numbers deserve."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from edgewright.benchmarks.bootstrap import median_interval
from edgewright.benchmarks.hosts import Fingerprint
from edgewright.benchmarks.units import bytes_text, percent_text
from edgewright.benchmarks.worker import Answer
from edgewright.errors import BadInput
from edgewright.runtimes.artifact import Artifact

Origin = Literal["measured", "modelled"]

GAP = 1.10  # wall time above CPU time by more than this: others used the processor
SPREAD = 0.10  # of the median, for latency between and within processes
MEMORY_SPREAD_BYTES = 1_000_000


@dataclass(frozen=True)
class Measurement:
    """Latencies are of one call with one batch, in milliseconds of wall time unless `cpu`.

    `interval_ms` is the 95 % bootstrap interval of the median over processes and samples. `load_ram_bytes` and
    `peak_ram_bytes` are what the process grew by when loading, and at the peak of inference: the runtime's libraries,
    the model and its buffers. `flags` say what makes the numbers doubtful.
    """

    digest: str
    spec: str
    runtime: str
    version: str
    threads: int
    origin: Origin
    median_ms: float
    p90_ms: float
    interval_ms: tuple[float, float]
    cpu_median_ms: float
    peak_ram_bytes: int
    load_ram_bytes: int
    size_bytes: int
    host: Fingerprint
    processes: int
    samples: int
    flags: tuple[str, ...] = ()

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Measurement":
        """Raises BadInput on anything but a measurement."""
        try:
            raw: dict[str, Any] = json.loads(text)
            low, high = raw["interval_ms"]
            rebuilt = {"interval_ms": (low, high), "host": Fingerprint(**raw["host"]), "flags": tuple(raw["flags"])}
            return cls(**(raw | rebuilt))
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(f"not a measurement: {error}") from None


def summarize(artifact: Artifact, answers: Sequence[Answer], threads: int, host: Fingerprint) -> Measurement:
    """One artifact's measurement from the answers of its processes (one subject each)."""
    timings = [answer.timings[0] for answer in answers]
    wall = np.concatenate([timing.wall_ms for timing in timings])
    peaks = [answer.peak_bytes - answer.before_bytes for answer in answers]
    return Measurement(
        digest=artifact.digest,
        spec=str(artifact.spec),
        runtime=timings[0].runtime,
        version=timings[0].version,
        threads=threads,
        origin="measured",
        median_ms=float(np.median(wall)),
        p90_ms=float(np.quantile(wall, 0.9)),
        interval_ms=median_interval([timing.wall_ms for timing in timings]),
        cpu_median_ms=float(np.median(np.concatenate([timing.cpu_ms for timing in timings]))),
        peak_ram_bytes=int(np.median(peaks)),
        load_ram_bytes=int(np.median([answer.loaded_bytes - answer.before_bytes for answer in answers])),
        size_bytes=artifact.size_bytes,
        host=host,
        processes=len(answers),
        samples=len(wall),
        flags=_flags(answers, peaks, threads, host),
    )


def _flags(answers: Sequence[Answer], peaks: Sequence[int], threads: int, host: Fingerprint) -> tuple[str, ...]:
    walls = [np.asarray(answer.timings[0].wall_ms) for answer in answers]
    median = float(np.median(np.concatenate(walls)))
    cpu = float(np.median(np.concatenate([answer.timings[0].cpu_ms for answer in answers])))
    flags = []
    if threads == 1 and median > GAP * cpu:
        above = percent_text(median / cpu - 1, 0)
        flags.append(f"wall/CPU gap: wall time is {above} above CPU time, so others used the processor")
    within = max(float(np.quantile(samples, 0.75) - np.quantile(samples, 0.25)) for samples in walls) / median
    if within > SPREAD:
        flags.append(f"may be unstable: spread {percent_text(within, 0)} (interquartile range over median)")
    medians = [float(np.median(samples)) for samples in walls]
    between = (max(medians) - min(medians)) / median
    if between > SPREAD:
        flags.append(f"may be unstable: process medians differ by {percent_text(between, 0)}")
    if max(peaks) - min(peaks) > MEMORY_SPREAD_BYTES:
        flags.append(f"peak memory differs by {bytes_text(max(peaks) - min(peaks))} between processes")
    if not all(answer.peak_is_of_inference for answer in answers):
        flags.append("peak memory includes loading: this system cannot reset the peak")
    if host.governor not in (None, "performance"):
        flags.append(f"CPU frequency governor is {host.governor!r}, not 'performance'")
    return tuple(flags)
