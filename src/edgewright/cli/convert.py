"""`edgewright convert`."""

from pathlib import Path
from typing import Annotated

import typer

from edgewright.benchmarks.units import bytes_text
from edgewright.cli.console import Data, Json, StorePath, Trust, emit, progress


def command(
    source: Annotated[str, typer.Argument(metavar="IN", help="A module (file.py:factory), a .pt2 or an .onnx.")],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Ends in .onnx, .tflite, .mlpackage; .cc or .h: a C array.")
    ],
    data: Data = None,
    precision: Annotated[
        str, typer.Option("--precision", help="float32, float16, int8 or mixed (with --data), …")
    ] = "float32",
    layout: Annotated[
        str, typer.Option("--layout", help="original, or nhwc: a .tflite file with images channels-last.")
    ] = "original",
    io: Annotated[
        str | None,
        typer.Option(
            "--io",
            help="What an int8 file takes and gives: float, or int8 (default of --micro) or uint8 codes; "
            "float16: a .mlpackage.",
        ),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option("--form", help="Codes of an int8 .onnx: s8s8 (Arm), u8s8 (x86 with VNNI), u8u8 (x86), or auto."),
    ] = None,
    fast_x86: Annotated[
        bool, typer.Option("--fast-x86", help="int8 with weights of 7 bits: fast on any x86, other answers.")
    ] = False,
    rounding: Annotated[
        str,
        typer.Option("--rounding", help="Of int8 weights: nearest, gptq, or learned: minutes of training, no labels."),
    ] = "gptq",
    micro: Annotated[
        bool, typer.Option("--micro", help="A .tflite file for microcontrollers: tflite-micro's operators only.")
    ] = False,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels", metavar="FILE", help="Names of the classes, one a line, for .tflite, .mlpackage or C."
        ),
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(
            "--image",
            metavar="COLOR",
            help="A .mlpackage that takes an image: RGB, BGR or GRAYSCALE; NAME=COLOR of several inputs.",
        ),
    ] = None,
    preprocess: Annotated[
        list[str] | None,
        typer.Option(
            "--preprocess",
            metavar="KEY=VALUES",
            help="Put (raw × scale - mean) / std into the model, repeatable: dtype=uint8, mean=0.48,0.46,0.41.",
        ),
    ] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(
            "--shape",
            metavar="NAME=LENGTHS",
            help="Of an .onnx input, repeatable: x=1,3,224,224; x=1?,3,224,224 or x=1..8,3,224,224 keeps the batch of "
            "a .tflite or .mlpackage open; x=1,3,224,224|1,3,320,320 are the only shapes of a .mlpackage.",
        ),
    ] = None,
    store: StorePath = None,
    trust: Trust = False,
    json_: Json = False,
) -> None:
    """Turn one model into another format or precision, verified on the way.

    Example: edgewright convert model.onnx model.tflite --precision int8 --data samples.npz
    Example: edgewright convert model.onnx model.mlpackage --image RGB --preprocess dtype=uint8 --labels labels.txt
    Example: edgewright convert model.onnx model.cc --precision int8 --data samples.npz (a .tflite file may be IN, too)
    """
    from edgewright import api
    from edgewright.export.onnx.passes.batch import split_shapes
    from edgewright.runtimes.module.preprocess import read_preprocess

    if source.endswith(".tflite") and out.suffix != ".tflite":
        header, body = api.to_c_array(source, out, labels=labels)
        return emit({"header": str(header), "source": str(body)}) if json_ else print(f"{header}, {body}")

    done = api.convert(
        str(source), out, data=data, precision=precision, layout=layout, io=io, form=form, fast_x86=fast_x86,
        rounding=rounding, micro=micro, labels=labels, image=image,
        preprocess=read_preprocess(preprocess or ()), shapes=split_shapes(shape or ()), store=store,
        trust=trust, progress=progress(),
    )  # fmt: skip
    verdict = done.hop.verdict
    if json_:
        document = {"out": str(out), "size_bytes": done.hop.artifact.size_bytes, "digest": done.hop.artifact.digest}
        steps = {"steps": [hop.step for hop in done.hops], "notes": dict(done.hop.notes)}
        return emit(document | steps | {"verdict": verdict.to_json()})
    print(f"{out}: {done.hop.artifact.spec}, {bytes_text(done.hop.artifact.size_bytes)}")
    if "arena_bytes" in done.hop.notes:
        print(f"arena in tflite-micro: {bytes_text(done.hop.notes['arena_bytes'])}")
    if done.hop.step == "recode":
        print(f"codes {done.hop.notes['form']} ({done.hop.notes['why']}), {done.hop.notes['io']} I/O")
    if verdict.unverified:
        print(f"unverified: {verdict.unverified}")
    elif verdict.vs_original is not None:
        found = verdict.vs_original
        probes = "synthetic probes" if found.synthetic else "samples"
        same = "" if found.top1_agreement is None else f", top-1 the same on {found.top1_agreement:.2%}"
        same += "" if found.rows_agreement is None else f", rows found by both {found.rows_agreement:.2%}"
        print(f"verified on {found.samples} {probes}: SNR {found.snr_db:.1f} dB against the original{same}")
        if verdict.caution:
            print(f"  by {verdict.runtime}: {verdict.caution}")
    return None
