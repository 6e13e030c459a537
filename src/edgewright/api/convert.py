"""`convert`: one file or module to another file, by the exporter graph, verified."""

from dataclasses import dataclass
from pathlib import Path

from edgewright.api.request import samples_of
from edgewright.data import Samples
from edgewright.devices.spec import Format, Precision, Spec
from edgewright.errors import BadInput, Diverged
from edgewright.export import origin
from edgewright.export.hop import Hop
from edgewright.export.pipeline import Pipeline
from edgewright.export.planner import Plan, plan
from edgewright.export.store import Store
from edgewright.export.verification import Verifier
from edgewright.progress import Progress, Silent
from edgewright.recipe import named_precision
from edgewright.runtimes.artifact import FORMAT_OF_SUFFIX, copy_artifact
from edgewright.runtimes.read import read
from edgewright.staging import replacing

LAYOUTS = ("original", "nhwc")


@dataclass(frozen=True)
class Conversion:
    """What was written, by which plan, through which hops; the last one is the written file's."""

    out: Path
    plan: Plan
    hops: tuple[Hop, ...]

    @property
    def hop(self) -> Hop:
        return self.hops[-1]


def convert(
    source: str,
    out: Path | str,
    *,
    data: str | None = None,
    precision: str = "float32",
    layout: str = "original",
    store: Path | str | None = None,
    trust: bool = False,
    progress: Progress | None = None,
) -> Conversion:
    """Turn `source` (a module, a ``.pt2`` or an ``.onnx``) into the kind of file that `out` names.

    `layout` is that of a TFLite file's images. Raises NoPath, UnsupportedOps, Diverged (nothing is written then), …
    """
    out, progress = Path(out), progress or Silent()
    if out.suffix not in FORMAT_OF_SUFFIX or out.suffix in (".torch", ".pt2"):
        raise BadInput(f"{out}: name the output .onnx, .tflite or .mlpackage")
    if layout not in LAYOUTS:
        raise BadInput(f"layout is {layout!r}; known: {', '.join(LAYOUTS)}")
    target = Spec(FORMAT_OF_SUFFIX[out.suffix], named_precision(precision))
    if layout != "original" and target.format is not Format.TFLITE:
        raise BadInput(f"layout nhwc is for .tflite files, not for {target}")
    samples = samples_of(source, data, trust=trust)
    pipeline = Pipeline(
        Store(Path(store) if store else None), samples, Verifier(samples and samples.part("test"), progress), progress
    )
    start = _start(pipeline, source, target, samples, trust)
    route = plan(start.artifact.spec, [target], has_data=samples is not None)
    progress.say(f"plan:\n{route}")
    pipeline.run(route, start, _options(route, target, layout))
    last = pipeline.hops[-1]
    if last.verdict.diverged is not None:
        raise Diverged(f"{last.verdict.diverged}\nNothing was written to {out}.")
    with replacing(out) as aside:
        copy_artifact(last.artifact.path, aside)
    return Conversion(out, route, tuple(pipeline.hops))


def _start(pipeline: Pipeline, source: str, target: Spec, samples: Samples | None, trust: bool) -> Hop:
    path = Path(source)
    if path.suffix in FORMAT_OF_SUFFIX:
        precision = read(path).precision if path.suffix == ".onnx" else Precision.FLOAT32
        given = origin.start_file(pipeline, path, trusted=trust, precision=precision)
        foreign = given.artifact.spec == origin.ONNX and target != Spec(Format.ONNX, precision)
        return origin.import_file(pipeline, given) if foreign or target == origin.ONNX else given
    return origin.start_module(pipeline, source, samples)


def _options(route: Plan, target: Spec, layout: str) -> dict[str, object]:
    if layout == "original":
        return {}
    last = route.path(target)[-1]
    return {last.name: last.options(layout=layout)}
