"""`convert`: one file or module to another file, by the exporter graph, verified."""

from dataclasses import dataclass
from pathlib import Path

from edgewright.api.request import samples_of
from edgewright.data import Samples
from edgewright.devices.spec import Format, Precision, Spec
from edgewright.errors import BadInput, Diverged
from edgewright.export import origin
from edgewright.export.hop import Hop
from edgewright.export.onnx.quantize.ends import check_io
from edgewright.export.onnx.quantize.options import QuantizeOptions
from edgewright.export.onnx.quantize.recode import choose_form
from edgewright.export.pipeline import Pipeline
from edgewright.export.planner import Plan, plan
from edgewright.export.recoding import recoded
from edgewright.export.store import Store
from edgewright.export.verification import Verifier
from edgewright.progress import Progress, Silent
from edgewright.recipe import named_precision
from edgewright.runtimes.artifact import FORMAT_OF_SUFFIX, copy_artifact
from edgewright.runtimes.read import read
from edgewright.staging import replacing

LAYOUTS = ("original", "nhwc")
ONNX_INT8 = Spec(Format.ONNX, Precision.INT8)


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
    io: str = "float",
    form: str | None = None,
    fast_x86: bool = False,
    rounding: str = "gptq",
    store: Path | str | None = None,
    trust: bool = False,
    progress: Progress | None = None,
) -> Conversion:
    """Turn `source` (a module, a ``.pt2`` or an ``.onnx``) into the kind of file that `out` names.

    `layout` is that of a TFLite file's images. Each of the next three asks for int8: `io`, for int8 or uint8 codes as
    inputs and outputs; `form`, how an ONNX file writes its integers (s8s8, u8s8, u8u8, or auto: for this processor);
    `fast_x86`, for weights of 7 bits. `rounding` of int8 weights: nearest, gptq (error feedback) or learned (trained on
    their grids, without labels). Raises NoPath, UnsupportedOps, Diverged (nothing is written then), …
    """
    out, progress = Path(out), progress or Silent()
    if out.suffix not in FORMAT_OF_SUFFIX or out.suffix in (".torch", ".pt2"):
        raise BadInput(f"{out}: name the output .onnx, .tflite or .mlpackage")
    if layout not in LAYOUTS:
        raise BadInput(f"layout is {layout!r}; known: {', '.join(LAYOUTS)}")
    if precision == "float32" and (check_io(io) != "float" or form or fast_x86):
        precision = "int8"
    target = Spec(FORMAT_OF_SUFFIX[out.suffix], named_precision(precision))
    _check_codes(target, io, form, fast_x86)
    if layout != "original" and target.format is not Format.TFLITE:
        raise BadInput(f"layout nhwc is for .tflite files, not for {target}")
    samples = samples_of(source, data, trust=trust)
    pipeline = Pipeline(
        Store(Path(store) if store else None), samples, Verifier(samples and samples.part("test"), progress), progress
    )
    start = _start(pipeline, source, target, samples, trust)
    route = plan(start.artifact.spec, [target], has_data=samples is not None)
    progress.say(f"plan:\n{route}")
    pipeline.run(route, start, _options(route, target, layout, io) | _quantization(route, target, fast_x86, rounding))
    last = pipeline.hops[-1]
    if target == ONNX_INT8 and (form or io != "float") and last.verdict.diverged is None:
        last = recoded(pipeline, last, *choose_form(form or "s8s8"), check_io(io))
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


def _check_codes(target: Spec, io: str, form: str | None, fast_x86: bool) -> None:
    """Raises one BadInput for all that the target cannot have."""
    problems = []
    if form:
        choose_form(form)
        if target != ONNX_INT8:
            problems.append(f"form is for int8 .onnx files, not for {target}, which is translated from s8s8")
    if io != "float" and target.format is Format.COREML:
        problems.append("io: a Core ML file takes and gives floats and int32; its int8 tensors are inner ones")
    elif io != "float" and target.precision is not Precision.INT8:
        problems.append(f"io {io} is for int8 files, not for {target}")
    if fast_x86 and target.precision is not Precision.INT8:
        problems.append(f"fast_x86 is a quantization to int8, not to {target.precision}")
    if problems:
        raise BadInput("; ".join(problems))


def _options(route: Plan, target: Spec, layout: str, io: str) -> dict[str, object]:
    """The options of the writer that differ from their defaults, by step."""
    if target.format is not Format.TFLITE or (layout, io) == ("original", "float"):
        return {}
    codes = {"io": io} if io != "float" else {}
    last = route.path(target)[-1]
    return {last.name: last.options(layout=layout, **codes)}


def _quantization(route: Plan, target: Spec, fast_x86: bool, rounding: str) -> dict[str, object]:
    """The options of the step that quantizes, where they differ. Raises BadInput when the path has no such step."""
    if not fast_x86 and rounding == "gptq":
        return {}
    for step in route.path(target):
        if issubclass(step.options, QuantizeOptions):
            return {step.name: step.options(fast_x86=fast_x86, rounding=rounding)}
    raise BadInput("fast_x86 and rounding act while weights are quantized to int8: convert from the float model")
