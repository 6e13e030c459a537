"""Run parent and child on the same samples and judge the child; where it fails, name the first bad tensor."""

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.data import Samples, synthetic
from edgewright.devices.spec import Format
from edgewright.errors import BadData, UnsupportedOps
from edgewright.export.hop import Hop, Verdict
from edgewright.export.verify import Limit, fidelity, first_bad_tensor, limit_for, shortfalls
from edgewright.progress import Progress
from edgewright.runtimes.artifact import Artifact
from edgewright.runtimes.contract import Contract
from edgewright.runtimes.runtime import ROWS, batch_of, call_inputs, pick, run_samples

Outputs = dict[str, NDArray[Any]]
LEAST_PROBES, MOST_PROBES = 4, 16
PROBE_ELEMENTS = 2**18
"""Of all probes together: sixteen small inputs, but four photos. A lowering that is wrong is wrong on each of them."""


class Verifier:
    """Runs artifacts on one set of samples; the outputs of each are kept, since a parent has many children."""

    def __init__(self, samples: Samples | None, progress: Progress) -> None:
        self._samples = samples
        self._progress = progress
        self._outputs: dict[str, Outputs] = {}

    def samples(self, original: Artifact) -> Samples:
        """The given samples; without any, seeded probes for the original's inputs."""
        if self._samples is None or len(self._samples) == 0:
            self._samples = _probes(original)
        return self._samples

    def runtime_of(self, artifact: Artifact) -> str | None:
        """Name and version of what runs the artifact here; None when nothing does."""
        runtime, _ = pick(artifact.spec.format)
        return f"{runtime.name} {runtime.version()}" if runtime else None

    def verify(self, hop: Hop, parent: Hop | None, original: Hop) -> Verdict:
        """Judge a hop. Torch modules are compared and never gated: training and compression change the function."""
        runtime, why = pick(hop.artifact.spec.format)
        if runtime is None:
            return Verdict(unverified=why)
        samples = self.samples(original.artifact)
        try:
            answers = self._run(hop.artifact, samples)
        except UnsupportedOps as error:  # of a runtime: it knows fewer operators than its format has
            return Verdict(unverified=str(error))
        vs_original = fidelity(self._run(original.artifact, samples), answers, samples)
        if parent is None or hop.artifact.spec.format is Format.TORCH:
            return Verdict(vs_original=vs_original, runtime=runtime.name, caution=runtime.caution or None)
        parent_runs = pick(parent.artifact.spec.format)[0] is not None
        vs_parent = fidelity(self._run(parent.artifact, samples), answers, samples) if parent_runs else None
        limit = limit_for(hop.artifact.spec.precision, parent.artifact.spec.precision)
        missed = shortfalls(vs_parent, limit) if limit and vs_parent else []
        diverged = None
        if missed and limit:
            diverged = (
                f"{hop.name} against {parent.name}: {'; '.join(missed)}{self._where(hop, parent, limit, samples)}"
            )
        return Verdict(vs_parent, vs_original, runtime.name, None, diverged, runtime.caution or None)

    def _run(self, artifact: Artifact, samples: Samples) -> Outputs:
        if artifact.digest not in self._outputs:
            runtime, why = pick(artifact.spec.format)
            assert runtime is not None, why
            session = runtime.load(artifact)
            self._outputs[artifact.digest] = run_samples(
                session, samples.inputs, self._progress, f"verify {artifact.spec}"
            )
        return self._outputs[artifact.digest]

    def _where(self, hop: Hop, parent: Hop, limit: Limit, samples: Samples) -> str:
        """The first inner tensor that is off, on the sample whose answer is worst."""
        ours, theirs = self._run(hop.artifact, samples), self._run(parent.artifact, samples)
        name = next(iter(theirs))
        worst = _worst(ours, theirs, name)
        inner = []
        for artifact in (parent.artifact, hop.artifact):
            runtime, _ = pick(artifact.spec.format)
            assert runtime is not None
            session = runtime.load(artifact)
            batch = batch_of(session.contract, 1)
            start = worst // batch * batch
            inner.append(session.intermediates(call_inputs(session.contract, samples.inputs, start, batch)))
        bad = first_bad_tensor(inner[0], inner[1], limit.snr_db)
        if bad is None:
            return f"; worst sample {worst}; no inner tensor of the same name is off"
        return f"; worst sample {worst}; first bad tensor {bad[0]!r} at {bad[1]:.1f} dB"


def _worst(ours: Outputs, theirs: Outputs, name: str) -> int:
    """The sample with the largest error; of rows that are counted, the first with another number of them."""
    if f"{name}{ROWS}" in ours and f"{name}{ROWS}" in theirs:
        return int(np.argmax(ours[f"{name}{ROWS}"] != theirs[f"{name}{ROWS}"]))
    if ours[name].shape != theirs[name].shape:
        return 0
    errors = np.abs(ours[name] - theirs[name]).reshape(len(ours[name]), -1).max(1)
    return int(np.argmax(np.nan_to_num(errors, nan=np.inf)))


def _probes(original: Artifact) -> Samples:
    runtime, why = pick(original.spec.format)
    if runtime is None:
        raise BadData(f"without data the original must run here to be verified, and cannot: {why}")
    contract = runtime.load(original).contract
    per_sample = () if contract.is_batched else (None,)
    shapes = {info.name: ((*per_sample, *info.shape), info.dtype) for info in contract.inputs}
    return synthetic(shapes, count=_calls(contract) * batch_of(contract, 1))


def _calls(contract: Contract) -> int:
    """How many inputs to draw: fewer where they are large, as their runs would take longer than the export."""
    elements = sum(prod(length or 1 for length in info.shape) for info in contract.inputs)
    return min(MOST_PROBES, max(LEAST_PROBES, PROBE_ELEMENTS // max(elements, 1)))
