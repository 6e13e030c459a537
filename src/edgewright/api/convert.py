"""`convert`: one file or module to another file, by the exporter graph, verified."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgewright.api.c_array import write_c_array
from edgewright.api.request import samples_of
from edgewright.data import Samples
from edgewright.devices.spec import Format, Precision, Spec
from edgewright.errors import BadInput, Diverged
from edgewright.export import origin
from edgewright.export.coreml.options import IO_TYPES as COREML_IO_TYPES
from edgewright.export.hop import Hop
from edgewright.export.metadata import Metadata, read_labels
from edgewright.export.onnx.passes.batch import InputShape, Lengths, input_shapes
from edgewright.export.onnx.quantize.ends import IoType, check_io
from edgewright.export.onnx.quantize.options import QuantizeOptions
from edgewright.export.onnx.quantize.recode import choose_form
from edgewright.export.pipeline import Pipeline
from edgewright.export.planner import Plan, plan
from edgewright.export.recoding import recoded
from edgewright.export.store import Store
from edgewright.export.tflite.c_array import C_SUFFIXES, check_c_name
from edgewright.export.verification import Verifier
from edgewright.progress import Progress, Silent
from edgewright.recipe import named_precision
from edgewright.runtimes.artifact import FORMAT_OF_SUFFIX, copy_artifact
from edgewright.runtimes.module.preprocess import Preprocess
from edgewright.runtimes.read import read
from edgewright.staging import replacing

LAYOUTS = ("original", "nhwc")
FLOATS = (Precision.FLOAT32, Precision.FLOAT16)
"""Of ONNX files that are brought into the clean form first, where something else is to be made of them."""
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
    io: str | None = None,
    form: str | None = None,
    fast_x86: bool = False,
    rounding: str = "gptq",
    micro: bool = False,
    labels: Path | str | None = None,
    image: str | None = None,
    preprocess: Preprocess | None = None,
    shapes: Mapping[str, Lengths | Sequence[Lengths]] | None = None,
    store: Path | str | None = None,
    trust: bool = False,
    progress: Progress | None = None,
) -> Conversion:
    """Turn `source` (a module, a ``.pt2`` or an ``.onnx``) into the kind of file that `out` names.

    A C++ file (.cc, .cpp, .h; header and source are both written) holds a .tflite file for tflite-micro; `micro` makes
    just that file. `labels`, a text file with a name a line, goes into a TFLite file's metadata, or the header, and
    makes a Core ML file a classifier. `image` (RGB, BGR, GRAYSCALE, or of one of several inputs "photo=RGB") makes a
    Core ML file take images; `preprocess` goes into the model, so that it takes uint8 pixels. `layout` is that of a
    TFLite file's images. Each of the next three asks for int8: `io`, for int8 or uint8 codes as inputs and outputs (the
    default of a micro file; of a Core ML file float16 instead); `form`, how an ONNX file writes its integers (s8s8,
    u8s8, u8u8, or auto: for this processor); `fast_x86`, for weights of 7 bits. `rounding` of int8 weights: nearest,
    gptq (error feedback) or learned (trained on their grids, without labels). `shapes` fixes the lengths of an ONNX
    file's inputs, {"x": (1, 3, 224, 224)}, or keeps some of a TFLite or Core ML file open, with a length to begin with
    or a range: {"x": ("1?", 3, 224, "225?32..512")}; several lists are the only shapes that a Core ML file takes.
    Raises NoPath, UnsupportedOps, Diverged (nothing is written then), …
    """
    out, progress = Path(out), progress or Silent()
    in_c, made = out.suffix in C_SUFFIXES, _format(out, micro)
    names = read_labels(Path(labels)) if labels is not None else ()
    if layout not in LAYOUTS:
        raise BadInput(f"layout is {layout!r}; known: {', '.join(LAYOUTS)}")
    codes = _codes(io, made)
    if precision == "float32" and (codes != "float" or form or fast_x86):
        precision = "int8"
    target = Spec(made, named_precision(precision))
    _check_codes(target, codes, form, fast_x86)
    asked = input_shapes(shapes or {})
    _check_choices(target, layout, names, image, asked)
    samples = samples_of(source, data, trust=trust)
    pipeline = Pipeline(
        Store(Path(store) if store else None), samples, Verifier(samples and samples.part("test"), progress), progress
    )
    start = _start(pipeline, source, target, samples, trust, asked, preprocess)
    route = plan(start.artifact.spec, [target], has_data=samples is not None)
    progress.say(f"plan:\n{route}")
    options = _options(route, target, layout, io, names, image) | _quantization(route, target, fast_x86, rounding)
    pipeline.run(route, start, options)
    last = pipeline.hops[-1]
    if target == ONNX_INT8 and (form or io not in (None, "float")) and last.verdict.diverged is None:
        last = recoded(pipeline, last, *choose_form(form or "s8s8"), codes)
    if last.verdict.diverged is not None:
        raise Diverged(f"{last.verdict.diverged}\nNothing was written to {out}.")
    if in_c:
        write_c_array(last.artifact.path, out, names)
    else:
        with replacing(out) as aside:
            copy_artifact(last.artifact.path, aside)
    return Conversion(out, route, tuple(pipeline.hops))


def _format(out: Path, micro: bool) -> Format:
    """What `out` is to hold. Raises BadInput when it names no kind of file, or none for microcontrollers."""
    if out.suffix in C_SUFFIXES:
        check_c_name(out)
        return Format.TFLM
    if out.suffix not in FORMAT_OF_SUFFIX or out.suffix in (".torch", ".pt2"):
        raise BadInput(f"{out}: name the output .onnx, .tflite or .mlpackage; for microcontrollers .cc or .h")
    if micro and out.suffix != ".tflite":
        raise BadInput(f"micro is for .tflite files and C arrays, not for {out.suffix}")
    return Format.TFLM if micro else FORMAT_OF_SUFFIX[out.suffix]


def _start(
    pipeline: Pipeline,
    source: str,
    target: Spec,
    samples: Samples | None,
    trust: bool,
    shapes: Mapping[str, InputShape],
    preprocess: Preprocess | None,
) -> Hop:
    path = Path(source)
    if shapes and path.suffix != ".onnx":
        raise BadInput(f"shapes are for .onnx files; {source} has those of its example inputs")
    if path.suffix in FORMAT_OF_SUFFIX:
        precision = read(path).precision if path.suffix == ".onnx" else Precision.FLOAT32
        given = origin.start_file(
            pipeline, path, trusted=trust, precision=precision, preprocess=preprocess, shapes=shapes
        )
        foreign = precision in FLOATS and given.artifact.spec.format is Format.ONNX and target != given.artifact.spec
        return origin.import_file(pipeline, given, shapes) if foreign or target == origin.ONNX else given
    return origin.start_module(pipeline, source, samples, preprocess)


def _check_codes(target: Spec, io: str, form: str | None, fast_x86: bool) -> None:
    """Raises one BadInput for all that the target cannot have."""
    problems = []
    if form:
        choose_form(form)
        if target != ONNX_INT8:
            problems.append(f"form is for int8 .onnx files, not for {target}, which is translated from s8s8")
    if io != "float" and target.precision is not Precision.INT8:
        problems.append(f"io {io} is for int8 files, not for {target}")
    if fast_x86 and target.precision is not Precision.INT8:
        problems.append(f"fast_x86 is a quantization to int8, not to {target.precision}")
    if problems:
        raise BadInput("; ".join(problems))


def _codes(io: str | None, made: Format) -> IoType:
    """What an ONNX or TFLite file is to take and give. Raises BadInput for an unknown `io`."""
    if made is not Format.COREML:
        return check_io(io or "float")
    if io not in (None, "float", *COREML_IO_TYPES):
        raise BadInput(
            "io: a Core ML file takes and gives floats and int32: float32 or float16; its int8 tensors are inner ones"
        )
    return "float"


def _check_choices(
    target: Spec, layout: str, labels: Sequence[str], image: str | None, shapes: Mapping[str, InputShape]
) -> None:
    """Raises one BadInput for all that a file of the target's format cannot have."""
    tflite, coreml = target.format in (Format.TFLITE, Format.TFLM), target.format is Format.COREML
    problems = (
        [f"layout {layout} is for .tflite files, not for {target}"] if layout != "original" and not tflite else []
    )
    if labels and not (tflite or coreml):
        problems.append(f"labels go into .tflite and .mlpackage files and C arrays, not into {target}")
    if image and not coreml:
        problems.append(f"image inputs are for .mlpackage files, not for {target}")
    if target.format is not Format.TFLITE and not coreml and any(shape.open_axes for shape in shapes.values()):
        problems.append(f"shapes: open lengths are for .tflite and .mlpackage files, not for {target}; give fixed ones")
    if problems:
        raise BadInput("; ".join(problems))


def _options(
    route: Plan, target: Spec, layout: str, io: str | None, labels: Sequence[str], image: str | None
) -> dict[str, object]:
    """The options of the writer that differ from their defaults, by step."""
    given: dict[str, object] = {"layout": layout} if layout != "original" else {}
    if io is not None and target.format is Format.COREML:
        given["io"] = "float32" if io == "float" else io
    elif io is not None and target.precision is Precision.INT8:
        given["io"] = io
    if image:
        given["image"] = image
    if labels and target.format in (Format.TFLITE, Format.COREML):
        given["metadata"] = Metadata(labels=tuple(labels))
    has_choices = target.format in (Format.TFLITE, Format.TFLM, Format.COREML)
    writer = route.path(target)[-1:] if has_choices and given else []
    return {step.name: step.options(**given) for step in writer}


def _quantization(route: Plan, target: Spec, fast_x86: bool, rounding: str) -> dict[str, object]:
    """The options of the step that quantizes, where they differ. Raises BadInput when the path has no such step."""
    if not fast_x86 and rounding == "gptq":
        return {}
    for step in route.path(target):
        if issubclass(step.options, QuantizeOptions):
            return {step.name: step.options(fast_x86=fast_x86, rounding=rounding)}
    raise BadInput("fast_x86 and rounding act while weights are quantized to int8: convert from the float model")
