"""Time a set of artifacts together, once for each set on each machine: the store remembers, and says that it did."""

from collections.abc import Sequence
from typing import Any

from edgewright.api.result import Timing
from edgewright.benchmarks import harness
from edgewright.benchmarks.hosts import Local
from edgewright.benchmarks.measurement import Measurement
from edgewright.errors import Error
from edgewright.export.fingerprint import source_digest
from edgewright.export.hop import Hop
from edgewright.export.store import Store
from edgewright.progress import Progress
from edgewright.runtimes.runtime import pick


def time_all(store: Store, hops: Sequence[Hop], progress: Progress) -> dict[str, Timing]:
    """By hop name. Artifacts that no runtime here can run get the reason; the others are measured interleaved."""
    reasons = {hop.name: pick(hop.artifact.spec.format, timed=True)[1] for hop in hops}
    runnable = [hop for hop in hops if not reasons[hop.name]]
    results = _remembered(store, runnable, progress) if runnable else []
    timed = {hop.name: str(r) if isinstance(r, Error) else r for hop, r in zip(runnable, results, strict=True)}
    return {hop.name: timed.get(hop.name, reasons[hop.name]) for hop in hops}


def _remembered(store: Store, hops: Sequence[Hop], progress: Progress) -> Sequence[Measurement | Error]:
    """From the store, else measured now; kept only when every one succeeded."""
    key: dict[str, Any] = {
        "bench": source_digest("edgewright.benchmarks.harness"),
        "artifacts": [[str(hop.artifact.spec), hop.artifact.digest] for hop in hops],
        "runtimes": [_runtime(hop) for hop in hops],
        "host": vars(Local().fingerprint()),
    }
    entry = store.find(key)
    if entry is not None:
        progress.say("measure  [from the store]")
        return [Measurement.from_json(row) for row in entry.record["measurements"]]
    results = harness.measure_all([hop.artifact for hop in hops], progress=progress)
    measured = [result.to_json() for result in results if isinstance(result, Measurement)]
    if len(measured) == len(results):
        store.get_or_make(key, lambda _folder: {"measurements": measured})
    return results


def _runtime(hop: Hop) -> str:
    runtime, _ = pick(hop.artifact.spec.format, timed=True)
    return f"{runtime.name} {runtime.version()}" if runtime else ""
