"""`build`: a model down the whole road, measured, judged against devices, and left in one folder."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgewright.api.bundle import check_place, write_bundle
from edgewright.api.measuring import time_all
from edgewright.api.neural_engine import neural_engine
from edgewright.api.request import made_for, overlay, samples_of, step_options, wanted
from edgewright.api.result import Build, Timing, accuracy_drop, shown
from edgewright.benchmarks.fit import Fit, Verdict, fit
from edgewright.data import Samples
from edgewright.devices.device import device
from edgewright.devices.spec import Format
from edgewright.export import origin
from edgewright.export.hop import Hop
from edgewright.export.pipeline import Pipeline
from edgewright.export.planner import plan
from edgewright.export.store import Store
from edgewright.export.verification import Verifier
from edgewright.progress import Progress, Silent
from edgewright.recipe import Recipe
from edgewright.runtimes.read import read

if TYPE_CHECKING:
    from edgewright.benchmarks.arena import Arena

DISPENSABLE = (Format.TFLM,)
"""What a network may have operators for in all other formats: then the others are built."""


def build(
    model: str | None = None,
    *,
    devices: Sequence[str] = (),
    recipe: Path | str | None = None,
    data: str | None = None,
    precision: str = "auto",
    out: Path | str = "build",
    store: Path | str | None = None,
    bench: bool = True,
    trust: bool = False,
    progress: Progress | None = None,
) -> Build:
    """Take `model` to every artifact that `devices` accept, and write them to `out` with manifest and report.

    `model` is ``package.module:factory``, ``file.py:factory``, a ``.pt2`` (with `trust`) or an ``.onnx``; `recipe` an
    ``edgewright.toml`` that can say all of this. Artifacts come from the store where nothing that made them changed.
    Raises a subclass of `edgewright.errors.Error`; checks and budgets that fail are in `Build.failures`.
    """
    started = time.perf_counter()
    progress = progress or Silent()
    check_place(Path(out))
    asked = overlay(model, recipe, devices, data, precision)
    samples = samples_of(asked.model, asked.data, trust=trust)
    place = Store(Path(store) if store else None)
    pipeline = Pipeline(place, samples, Verifier(samples and samples.part("test"), progress), progress)
    source = origin.ONNX if Path(asked.model).suffix == ".onnx" else origin.TORCH
    route = plan(source, wanted(asked), has_data=samples is not None)
    progress.say(f"plan:\n{_before(asked)}{route}")
    pipeline.run(route, first_hop(pipeline, asked, samples, trust=trust), step_options(asked), DISPENSABLE)
    route = replace(route, blocked=route.blocked | pipeline.refused)
    hops = shown(pipeline.hops)
    timings = time_all(place, hops, progress) if bench else {hop.name: "not asked for" for hop in hops}
    fits = tuple(_fits(asked, pipeline.hops, timings))
    best = {name: _best(name, fits) for name in asked.devices}
    result = Build(
        recipe=asked,
        out=Path(out),
        plan=route,
        hops=tuple(pipeline.hops),
        timings=timings,
        fits=fits,
        best=best,
        failures=tuple(_failures(pipeline.hops, best, fits)),
        seconds=time.perf_counter() - started,
        samples_origin=asked.data or "synthetic",
    )
    write_bundle(result)
    return result


def first_hop(pipeline: Pipeline, recipe: Recipe, samples: Samples | None, *, trust: bool = False) -> Hop:
    """The hop from which everything is exported: given, or trained, then compressed in the recipe's order."""
    path = Path(recipe.model)
    if path.suffix in (".onnx", ".pt2"):
        given = origin.start_file(pipeline, path, trusted=trust, preprocess=recipe.preprocess, shapes=recipe.shapes)
        is_onnx = given.artifact.spec.format is Format.ONNX
        return origin.import_file(pipeline, given, recipe.shapes) if is_onnx else given
    name = "untrained" if recipe.train else "original"
    hop = origin.start_module(pipeline, recipe.model, samples, recipe.preprocess, seed=recipe.seed, name=name)
    if recipe.train is not None and samples is not None:
        hop = origin.train(pipeline, hop, samples, recipe.train, recipe.train_function)
    for each in recipe.compress:
        hop = origin.compress(
            pipeline, hop, each.name, each.config,
            samples=samples, finetune=each.finetune, function=recipe.train_function, trusted=trust,
        )  # fmt: skip
    return hop


def _before(recipe: Recipe) -> str:
    """The line of the plan that comes before the exporter graph."""
    passes = (["train"] if recipe.train else []) + [each.name for each in recipe.compress]
    return (
        f"  {Path(recipe.model).name} " + "".join(f"─{name}→ " for name in passes) + "torch:float32\n" if passes else ""
    )


def _fits(recipe: Recipe, hops: Sequence[Hop], timings: Mapping[str, Timing]) -> list[tuple[Hop, Fit]]:
    fits = []
    exported = [hop for hop in hops if hop.parent is not None and hop.artifact.spec.format is not Format.TORCH]
    for hop in exported:
        table = read(hop.artifact.path)
        engine = neural_engine(hop.artifact.path) if table.format is Format.COREML else None
        for name in recipe.devices:
            target = device(name)
            timing = timings[hop.name]
            fits.append(
                (
                    hop,
                    fit(
                        table,
                        target,
                        None if isinstance(timing, str) else timing,
                        accuracy_drop=accuracy_drop(hop, hops),
                        unverified=hop.verdict.unverified,
                        budget=recipe.budget,
                        arena=_arena(hop) if target.runtime == "tflite-micro" else None,
                        neural_engine=engine,
                    ),
                )
            )
    return fits


def _arena(hop: Hop) -> "Arena | None":
    from edgewright.benchmarks.arena import arena_of

    return arena_of(hop.artifact.path) if hop.artifact.path.suffix == ".tflite" else None


def _best(name: str, fits: Sequence[tuple[Hop, Fit]]) -> Hop | None:
    """The smallest artifact that fits the device and did not diverge."""
    good = [
        hop
        for hop, each in fits
        if each.device == name and each.verdict in (Verdict.FITS, Verdict.TIGHT) and hop.verdict.diverged is None
        if made_for(hop.artifact.spec, device(name))
    ]
    return min(good, key=lambda hop: (hop.artifact.size_bytes, hop.name), default=None)


def _failures(hops: Sequence[Hop], best: Mapping[str, Hop | None], fits: Sequence[tuple[Hop, Fit]]) -> list[str]:
    failures = [hop.verdict.diverged for hop in hops if hop.verdict.diverged is not None]
    for name, hop in best.items():
        if hop is None:
            accepted = [each for _, each in fits if each.device == name]
            why = "; ".join(
                f"{each.spec}: {line.reason}"
                for each in accepted
                for line in each.lines
                if line.verdict is Verdict.NO and line.resource != "format"
            )
            failures.append(f"nothing fits {name}: {why or 'no artifact in a format that it loads'}")
    return failures
