"""Measure artifacts in fresh processes, interleaved, so that whatever drifts on the host hits all of them alike."""

from collections.abc import Sequence

from edgewright.benchmarks.hosts import Host, Local
from edgewright.benchmarks.measurement import Measurement, summarize
from edgewright.benchmarks.worker import Answer, Request, Subject
from edgewright.errors import Error
from edgewright.progress import Progress, Silent
from edgewright.runtimes.artifact import Artifact

PROCESSES = 3
SAMPLES = 40


def measure(
    artifact: Artifact,
    *,
    processes: int = PROCESSES,
    samples: int = SAMPLES,
    threads: int = 1,
    runtime: str | None = None,
    progress: Progress | None = None,
    host: Host | None = None,
) -> Measurement:
    """Latency and memory of one artifact. Raises WorkerFailed, BadInput where no runtime can run it, BadModel."""
    [result] = measure_all(
        [artifact],
        processes=processes,
        samples=samples,
        threads=threads,
        runtime=runtime,
        progress=progress,
        host=host,
    )
    if isinstance(result, Error):
        raise result
    return result


def measure_all(
    artifacts: Sequence[Artifact],
    *,
    processes: int = PROCESSES,
    samples: int = SAMPLES,
    threads: int = 1,
    runtime: str | None = None,
    progress: Progress | None = None,
    host: Host | None = None,
) -> list[Measurement | Error]:
    """Each artifact's measurement, or the error that ended it, in the order given: one failure spoils no other.

    Processes are interleaved (A B C, C B A, …). An artifact that failed once is not started again.
    """
    host = host or Local()
    answers: list[list[Answer]] = [[] for _ in artifacts]
    failed: dict[int, Error] = {}
    with (progress or Silent()).task("measure", processes * len(artifacts)) as advance:
        for turn in range(processes):
            for index in range(len(artifacts))[:: 1 if turn % 2 == 0 else -1]:
                if index not in failed:
                    try:
                        answers[index].append(host.ask(_request(artifacts[index], threads, samples, runtime)))
                    except Error as error:
                        failed[index] = error
                advance(1)
    fingerprint = host.fingerprint()
    return [
        failed.get(index) or summarize(artifact, answers[index], threads, fingerprint)
        for index, artifact in enumerate(artifacts)
    ]


def subject(artifact: Artifact, runtime: str | None = None) -> Subject:
    """An artifact as a worker is told of it."""
    return Subject(str(artifact.path.resolve()), str(artifact.spec), artifact.digest, artifact.trusted, runtime)


def _request(artifact: Artifact, threads: int, samples: int, runtime: str | None) -> Request:
    return Request((subject(artifact, runtime),), threads, samples)
