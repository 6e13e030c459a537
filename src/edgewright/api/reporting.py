"""A build as the plain values that the report page shows."""

import datetime
import platform
from importlib.metadata import version

from edgewright.api.result import Build, accuracy_drop, file_name, shown, status
from edgewright.benchmarks.hosts import Local
from edgewright.benchmarks.measurement import Measurement
from edgewright.benchmarks.report.content import (
    ArtifactRow,
    FitCell,
    FitReason,
    LatencyFigure,
    Report,
    StepRow,
)
from edgewright.devices.device import device
from edgewright.export.hop import Hop, original_of


def report_of(build: Build) -> Report:
    host = Local().fingerprint()
    tools = {name: text for hop in build.hops for name, text in hop.tools.items()}
    return Report(
        title=f"edgewright: {_title(build)}",
        created=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        intro=_intro(build),
        rows=tuple(_row(build, hop) for hop in shown(build.hops)),
        fits=tuple(
            FitCell(
                fit.device,
                hop.name,
                str(fit.verdict),
                tuple(FitReason(line.resource, line.verdict and str(line.verdict), line.reason) for line in fit.lines),
            )
            for hop, fit in build.fits
        ),
        devices=tuple((name, device(name).title) for name in build.recipe.devices),
        steps=tuple(
            StepRow(hop.step, hop.parent or "-", hop.name, hop.seconds, hop.from_store)
            for hop in build.hops
            if hop.parent is not None
        ),
        host=(
            ("CPU", host.cpu),
            ("cores", str(host.cores)),
            ("system", host.system),
            ("governor", host.governor or "-"),
        ),
        environment=(
            ("edgewright", version("edgewright")),
            ("Python", platform.python_version()),
            *sorted(tools.items()),
        ),
        inputs=(
            ("model", _title(build)),
            ("data", build.recipe.data or "synthetic probes"),
            ("seed", str(build.recipe.seed)),
        ),
    )


def _title(build: Build) -> str:
    return build.recipe.model.rpartition("/")[2]


def _intro(build: Build) -> str:
    count = len(shown(build.hops))
    answers = original_of(build.hops).verdict.vs_original
    if answers is None:
        return f"{count} artifacts. The original cannot run here, so nothing was compared with it."
    samples = f"{answers.samples} {'synthetic probes' if answers.synthetic else 'held-out samples'}"
    return f"{count} artifacts, compared with their parents and with the original on {samples}."


def _row(build: Build, hop: Hop) -> ArtifactRow:
    timing = build.timings[hop.name]
    measured = timing if isinstance(timing, Measurement) else None
    compared = hop.verdict.vs_original
    is_original = hop.name == original_of(build.hops).name
    return ArtifactRow(
        name=hop.name,
        format=hop.artifact.spec.format,
        precision=hop.artifact.spec.precision,
        size_bytes=hop.artifact.size_bytes,
        digest=hop.artifact.digest,
        status=status(hop),
        reason=hop.verdict.unverified or hop.verdict.diverged or "",
        parent=None if is_original else hop.parent,
        file=file_name(hop),
        accuracy=compared.accuracy if compared else None,
        accuracy_drop=None if is_original else accuracy_drop(hop, build.hops),
        snr_db=hop.verdict.vs_parent.snr_db if hop.verdict.vs_parent else None,
        agreement=None if is_original or compared is None else compared.top1_agreement,
        fidelity_reason=hop.verdict.unverified or "",
        latency=_latency(measured) if measured else None,
        latency_reason=timing if isinstance(timing, str) else "",
        peak_ram_bytes=measured.peak_ram_bytes if measured else None,
        flags=measured.flags if measured else (),
    )


def _latency(measured: Measurement) -> LatencyFigure:
    low, high = measured.interval_ms
    return LatencyFigure(
        measured.median_ms, measured.p90_ms, low, high, measured.origin,
        f"{measured.runtime} {measured.version}", measured.threads, measured.cpu_median_ms,
    )  # fmt: skip
