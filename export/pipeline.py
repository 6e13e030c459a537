"""The road of one build: each hop comes from the store or is made, then is verified."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from edgewright.data import Samples
from edgewright.devices.spec import Format, Spec
from edgewright.errors import BadInput, BadModel, UnsupportedOps
from edgewright.export.fingerprint import cpu_digest, source_digest
from edgewright.export.hop import ORIGINS, Hop, Verdict, original_of
from edgewright.export.planner import Plan
from edgewright.export.steps import Job, Step
from edgewright.export.store import Entry, Store
from edgewright.export.verification import Verifier
from edgewright.progress import Progress
from edgewright.runtimes.artifact import Artifact, digest_of

Write = Callable[[Path], Mapping[str, Any]]


class Pipeline:
    """Holds what all hops of a build share: the store, the samples, the verifier, and the hops so far, in order."""

    def __init__(self, store: Store, samples: Samples | None, verifier: Verifier, progress: Progress) -> None:
        self.store = store
        self.hops: list[Hop] = []
        self.refused: dict[Spec, str] = {}
        self._samples = samples
        self._verifier = verifier
        self.progress = progress

    def run(self, plan: Plan, start: Hop, options: Mapping[str, Any], dispensable: Collection[Format] = ()) -> None:
        """Make and verify what the plan says, from `start`; `options` holds an options dataclass by step name.

        Behind a hop that diverged nothing is built. What a step cannot express raises, but for the `dispensable`
        formats: then `refused` tells why.
        """
        made = {plan.source: start}
        for step in plan.steps:
            source = made.get(step.source)
            if source is not None and source.verdict.diverged is None:
                try:
                    made[step.target] = self.take(step, source, options.get(step.name, step.options()))
                except (UnsupportedOps, BadModel, BadInput) as error:
                    if step.target.format not in dispensable:
                        raise
                    self.refused[step.target] = str(error)

    def take(self, step: Step, source: Hop, options: Any) -> Hop:
        """One step of the exporter graph."""
        settings = asdict(options)
        job = self._job(trains=settings.get("qat") is not None) if step.uses_data else Job(progress=self.progress)

        def write(out: Path) -> Mapping[str, Any]:
            return step.function(source.artifact, out, job, options)

        return self.add(
            name=str(step.target),
            spec=step.target,
            parent=source,
            step=step.name,
            module=step.module,
            options=settings,
            tools=step.tools(),
            depends={"data": _data_key(job), "cpu": cpu_digest()} if step.uses_data else {},
            write=write,
        )

    def add(
        self,
        *,
        name: str,
        spec: Spec,
        parent: Hop | None,
        step: str,
        module: str,
        options: Mapping[str, Any],
        tools: Mapping[str, str],
        depends: Mapping[str, Any],
        write: Write,
    ) -> Hop:
        """Get or make one artifact, verify it, and append the hop.

        `module` is the edgewright module whose source the result depends on; `depends` holds digests of other inputs.
        """
        key = {
            "step": step,
            "source": source_digest(module),
            "options": dict(options),
            "input": parent.artifact.digest if parent else None,
            "depends": dict(depends),
            "tools": dict(tools),
        }
        entry = self.store.get_or_make(key, lambda folder: _made(spec, folder, write))
        artifact = Artifact(spec, entry.folder / entry.record["file"], entry.record["digest"], trusted=True)
        hop = Hop(
            name=name,
            artifact=artifact,
            parent=parent.name if parent else None,
            step=step,
            options=dict(options),
            tools=dict(tools),
            notes=entry.record["notes"],
            from_store=entry.hit,
            seconds=entry.seconds,
            verdict=Verdict(),
        )
        return self.append(hop, parent)

    def append(self, hop: Hop, parent: Hop | None) -> Hop:
        """Verify an artifact that exists, and take it as the next hop."""
        hop = replace(hop, verdict=self._verdict(hop, parent))
        self.hops.append(hop)
        self._say(hop)
        return hop

    def _verdict(self, hop: Hop, parent: Hop | None) -> Verdict:
        original = hop if hop.step in ORIGINS else original_of(self.hops)
        key = {
            "verify": source_digest("edgewright.export.verification"),
            "child": [str(hop.artifact.spec), hop.artifact.digest],
            "parent": [str(parent.artifact.spec), parent.artifact.digest] if parent else None,
            "original": original.artifact.digest,
            "samples": self._verifier.samples(original.artifact).digest(),
            "runtime": self._verifier.runtime_of(hop.artifact),
            "cpu": cpu_digest(),
        }
        entry: Entry = self.store.get_or_make(
            key, lambda _folder: self._verifier.verify(hop, parent, original).to_json()
        )
        return Verdict.from_json(entry.record)

    def _job(self, trains: bool = False) -> Job:
        """The train part only for a step that trains: it may be large."""
        if self._samples is None:
            return Job(progress=self.progress)
        calibration, validation = self._samples.part("calibration"), self._samples.part("validation")
        train = self._samples.part("train") if trains else None
        return Job(calibration, validation if len(validation) else None, self.progress, train)

    def _say(self, hop: Hop) -> None:
        how = "from the store" if hop.from_store else f"{hop.seconds:.2f} s"
        state = "unverified" if hop.verdict.unverified else "DIVERGED" if hop.verdict.diverged else "verified"
        self.progress.say(f"{hop.step} → {hop.name}  [{how}, {state}]")


def _made(spec: Spec, folder: Path, write: Write) -> dict[str, Any]:
    out = folder / f"model{spec.suffix}"
    notes = write(out)
    if not out.exists():
        raise BadModel(f"the step to {spec} wrote nothing")
    return {"file": out.name, "digest": digest_of(out), "notes": dict(notes)}


def _data_key(job: Job) -> dict[str, str | None]:
    return {
        "calibration": job.calibration.digest() if job.calibration else None,
        "validation": job.validation.digest() if job.validation else None,
        "train": job.train.digest() if job.train else None,
    }
