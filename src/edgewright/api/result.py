"""What a build gave: `Build`, and the questions that manifest, report and command line all ask of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgewright.benchmarks.fit import Fit
from edgewright.benchmarks.measurement import Measurement
from edgewright.devices.spec import Format
from edgewright.export.hop import ORIGINS, Hop, original_of
from edgewright.export.planner import Plan
from edgewright.recipe import Recipe

Timing = Measurement | str
"""A measurement, or the reason why there is none."""


@dataclass(frozen=True)
class Build:
    """What a build gave. `failures` says every check and budget that was missed; empty when all is well.

    `timings` holds a Measurement, or the reason why there is none, by hop name; `best` the hop to ship by device.
    """

    recipe: Recipe
    out: Path
    plan: Plan
    hops: tuple[Hop, ...]
    timings: Mapping[str, Timing]
    fits: tuple[tuple[Hop, Fit], ...]
    best: Mapping[str, Hop | None]
    failures: tuple[str, ...]
    seconds: float
    samples_origin: str


def shown(hops: Sequence[Hop]) -> list[Hop]:
    """The hops that a person compares: from the original on, without what it was before training."""
    return list(hops[hops.index(original_of(hops)) :])


def file_name(hop: Hop) -> str:
    """The artifact's name in the bundle: `int8.tflite`, `int8.tflm.tflite`, `original.torch`, …"""
    spec, suffix = hop.artifact.spec, hop.artifact.path.suffix
    suffix = f".{spec.format}{suffix}" if spec.format is Format.TFLM else suffix
    return f"{spec.precision}{suffix}" if hop.name == str(spec) else f"{hop.name}{suffix}"


def accuracy_drop(hop: Hop, hops: Sequence[Hop]) -> float | None:
    """How much of the original's accuracy is gone, as a fraction; None where either was not measured."""
    before, after = original_of(hops).verdict.vs_original, hop.verdict.vs_original
    if before is None or after is None or before.accuracy is None or after.accuracy is None:
        return None
    return before.accuracy - after.accuracy


def status(hop: Hop) -> str:
    """original, compressed (another function on purpose, so not held to a limit), verified, unverified or diverged."""
    if hop.artifact.spec.format is Format.TORCH:
        return "original" if hop.step in ORIGINS else "compressed"
    if hop.verdict.unverified is not None:
        return "unverified"
    return "diverged" if hop.verdict.diverged is not None else "verified"
