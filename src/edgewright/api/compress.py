"""`compress_module`: a recipe's training and passes, each stage exported and measured, without a build for devices."""

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgewright.api.build import first_hop
from edgewright.api.bundle import check_place
from edgewright.api.ledger import Ledger, Stage
from edgewright.api.measuring import time_all
from edgewright.api.request import impossible, samples_of, step_options
from edgewright.api.result import file_name, shown
from edgewright.devices.spec import Format, Precision, Spec
from edgewright.errors import BadInput
from edgewright.export import origin
from edgewright.export.hop import Hop
from edgewright.export.pipeline import Pipeline
from edgewright.export.planner import Plan, plan
from edgewright.export.store import Store
from edgewright.export.verification import Verifier
from edgewright.progress import Progress, Silent
from edgewright.recipe import Recipe, read_recipe
from edgewright.runtimes.artifact import copy_artifact
from edgewright.staging import replacing

LEDGER = "ledger.json"
MEASURED = Spec(Format.TFLITE, Precision.FLOAT32)


def compress_module(
    model: str | None = None,
    *,
    recipe: Recipe | Path | str,
    data: str | None = None,
    to: Sequence[Spec] = (MEASURED,),
    out: Path | str = "compressed",
    store: Path | str | None = None,
    bench: bool = True,
    seed: int | None = None,
    trust: bool = False,
    progress: Progress | None = None,
) -> Ledger:
    """Train and compress as `recipe` says; `out` gets the module and the file of each stage, and ``ledger.json``.

    `model` is a factory (``file.py:function``) and stands for the recipe's. Each stage is exported to the first of
    `to`, the last stage to all of them. Accuracy is that of the files on the test part, which nothing else reads.
    `seed` repeats what the recipe does to the same original with other random numbers: its passes and fine-tuning, or
    its training where it has no passes. `trust` opens torch artifacts that the recipe names as teachers.
    Raises a subclass of `edgewright.errors.Error`; files that diverged are in `Ledger.failures`.
    """
    started = time.perf_counter()
    progress = progress or Silent()
    check_place(Path(out), LEDGER)
    to = tuple(dict.fromkeys(to))
    asked = _asked(model, recipe, data, to)
    asked = asked if seed is None else _reseeded(asked, seed)
    samples = samples_of(asked.model, asked.data)
    routes = [plan(origin.TORCH, (spec,), has_data=samples is not None) for spec in to]
    place = Store(Path(store) if store else None)
    test = samples and samples.part("test")
    pipeline = Pipeline(place, samples, Verifier(test, progress), progress)
    first_hop(pipeline, asked, samples, trust=trust)
    stages = _stages(pipeline, asked, routes)
    stages = _timed(place, stages, progress) if bench else stages
    result = Ledger(
        model=asked.model,
        data=asked.data or "synthetic",
        samples=len(test) if test else 0,
        out=Path(out),
        stages=tuple(stages),
        failures=tuple(dict.fromkeys(hop.verdict.diverged for hop in pipeline.hops if hop.verdict.diverged)),
        seconds=time.perf_counter() - started,
    )
    _write(result)
    return result


def _asked(model: str | None, recipe: Recipe | Path | str, data: str | None, to: Sequence[Spec]) -> Recipe:
    """The recipe with what the caller said. Raises BadInput listing what is missing."""
    base = recipe if isinstance(recipe, Recipe) else read_recipe(Path(recipe))
    base = replace(base, model=model or base.model, data=data or base.data)
    problems = impossible(base)
    if not base.compress and base.train is None:
        problems.append("the recipe neither trains nor compresses: it has no [train] and no [[compress]]")
    if not to:
        problems.append("no file to measure: name one, as tflite:float32")
    problems += [f"{spec} is no file that is exported" for spec in to if spec.format is Format.TORCH]
    if problems:
        raise BadInput("; ".join(problems))
    return base


def _reseeded(recipe: Recipe, seed: int) -> Recipe:
    if not recipe.compress:
        return replace(recipe, seed=seed, train=_with_seed(recipe.train, seed))
    passes = (
        replace(each, config=_with_seed(each.config, seed), finetune=_with_seed(each.finetune, seed))
        for each in recipe.compress
    )
    return replace(recipe, compress=tuple(passes))


def _with_seed(settings: Any, seed: int) -> Any:
    """Of a pass that draws no random numbers, the settings as they are."""
    return replace(settings, seed=seed) if hasattr(settings, "seed") else settings


def _stages(pipeline: Pipeline, recipe: Recipe, routes: Sequence[Plan]) -> list[Stage]:
    modules = list(pipeline.hops)
    seen = shown(modules)
    parameters = 0
    stages = []
    for hop in modules:
        parameters = hop.notes.get("parameters", parameters)
        chosen = routes if hop is modules[-1] else routes[:1] if hop in seen else []
        stages += [_stage(pipeline, recipe, hop, route, parameters, first=routes[0]) for route in chosen]
    return stages


def _stage(pipeline: Pipeline, recipe: Recipe, hop: Hop, route: Plan, parameters: int, first: Plan) -> Stage:
    (spec,) = route.wanted
    known = len(pipeline.hops)
    pipeline.run(route, hop, step_options(recipe))
    file = next((made for made in pipeline.hops[known:] if made.artifact.spec == spec), None)
    name = hop.name if route is first else f"{hop.name} as {spec}"
    return Stage(name, hop, spec, file, parameters, "not asked for" if file else "not made")


def _timed(store: Store, stages: Sequence[Stage], progress: Progress) -> list[Stage]:
    """All files together, so that their times can be compared."""
    files = [replace(stage.file, name=stage.name) for stage in stages if stage.file is not None]
    timings = time_all(store, files, progress)
    return [replace(stage, timing=timings.get(stage.name, stage.timing)) for stage in stages]


def _write(ledger: Ledger) -> None:
    with replacing(ledger.out, "The modules are safe in the store.") as folder:
        folder.mkdir()
        for stage in ledger.stages:
            module = folder / file_name(stage.module)
            if not module.exists():
                copy_artifact(stage.module.artifact.path, module)
            if stage.file is not None and stage.file_name is not None:
                copy_artifact(stage.file.artifact.path, folder / stage.file_name)
        (folder / LEDGER).write_text(json.dumps(ledger.to_json(), indent=1) + "\n")
