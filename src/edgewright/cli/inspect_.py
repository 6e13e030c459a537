"""`edgewright inspect`."""

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from edgewright.benchmarks.units import bytes_text
from edgewright.cli.console import Data, Json, emit, lengths_text, progress, table
from edgewright.cli.neural_engine_table import neural_engine_document, show_neural_engine
from edgewright.devices.spec import Format
from edgewright.errors import BadInput

if TYPE_CHECKING:
    from edgewright.export.onnx.quantize.sensitivity import OpNoise, Sensitivity
    from edgewright.runtimes.contract import TensorInfo
    from edgewright.runtimes.read import Model


def command(
    artifact: Annotated[str, typer.Argument(metavar="ARTIFACT")],
    sensitivity: Annotated[
        bool, typer.Option("--sensitivity", help="Where it loses against --against, on --data: SNR by operator.")
    ] = False,
    against: Annotated[
        str | None, typer.Option("--against", metavar="FLOAT.onnx", help="The clean float file that it was made of.")
    ] = None,
    data: Data = None,
    outputs: Annotated[
        bool, typer.Option("--outputs", help="With --sensitivity: also what each operator alone costs at the outputs.")
    ] = False,
    arena: Annotated[
        bool, typer.Option("--arena", help="Run a .tflite file once in tflite-micro: the RAM that it asks for.")
    ] = False,
    neural_engine: Annotated[
        bool,
        typer.Option(
            "--neural-engine", help="Of an .mlpackage: which operations Apple's Neural Engine could take, and memory."
        ),
    ] = False,
    json_: Json = False,
) -> None:
    """What a model file truly is: operators, dtypes, sizes, transposes, quantization, I/O.

    Example: edgewright inspect int8.tflite
    Example: edgewright inspect int8.tflm.tflite --arena
    Example: edgewright inspect float16.mlpackage --neural-engine
    Example: edgewright inspect int8.onnx --sensitivity --against float.onnx --data samples.npz
    """
    from edgewright import api

    if sensitivity:
        if against is None or data is None:
            raise BadInput("--sensitivity compares with a float file on samples: give --against FLOAT.onnx and --data")
        measured = api.sensitivity(artifact, against, data, outputs=outputs, progress=progress())
        return emit(dataclasses.asdict(measured)) if json_ else show_sensitivity(measured)
    if against is not None or data is not None or outputs:
        raise BadInput("--against, --data and --outputs are for --sensitivity")
    if neural_engine:
        fit = api.neural_engine(artifact)
        return emit(neural_engine_document(fit)) if json_ else show_neural_engine(fit)
    found = api.inspect(artifact)
    asked = api.arena(artifact) if arena else None
    if json_:
        return emit(document(found) | ({"arena_bytes": asked} if arena else {}))
    print(f"{artifact}: {found.format}:{found.precision}, {bytes_text(found.size_bytes)}")
    weights = f"  weights {bytes_text(found.parameter_bytes)} ({found.parameters:,} numbers)"
    if found.ops:
        print(f"{weights}, {found.macs:,} MACs")
        print(f"  int8 share of the MACs {found.int8_share:.1%}, {found.transposes} transposes")
    else:
        print(f"{weights}; operators are known once it is exported")
    for kind, infos in (("input", found.contract.inputs), ("output", found.contract.outputs)):
        for info in infos:
            stored = f", stored as {info.file_dtype}" if info.file_dtype and info.file_dtype != info.dtype else ""
            stored += f" (scale {info.scale:g}, zero point {info.zero_point})" if stored and info.scale else ""
            order = f", transposed by {info.permutation}" if info.permutation else ""
            image = f", an image in {info.image}" if info.image else ""
            print(f"  {kind} {info.name}: {_lengths(info)} {info.dtype}{stored}{order}{image}")
    if found.contract.added:
        print(f"  added for apps: {', '.join(found.contract.added)}")
    for name, text in _stated(found).items():
        print(f"  {name}: {text}")
    if asked is not None:
        print(f"  arena in tflite-micro: {asked:,} bytes, on a 64-bit host")
    if not found.ops:
        return None
    print()
    heads = ("operator", "kind", "computes in", ">MACs", ">weights", "output")
    rows = [
        (op.op_type, op.kind, op.compute_dtype, f"{op.macs:,}", bytes_text(op.weight_bytes), _shape(found, op.outputs))
        for op in found.ops
    ]
    return table("", heads, rows)


def show_sensitivity(measured: "Sensitivity") -> None:
    heads = ["operator", "node", "tensor", "in", ">local dB", ">cumulative dB"]
    with_outputs = any(row.output_db is not None for row in measured.ops)
    rows = [_noise(row, with_outputs) for row in measured.ops]
    table("", [*heads, *([">output dB"] if with_outputs else [])], rows)
    print(f"SNR against float on {measured.samples} samples; local: fed with the float model's values")
    worst = next((row for row in measured.ops if row.tensor == measured.culprit), None)
    if worst is not None:
        print(f"adds most of the noise: {worst.op} {worst.node} (tensor {worst.tensor})")


def _noise(row: "OpNoise", with_outputs: bool) -> tuple[str, ...]:
    from edgewright.export.onnx.quantize.quantized import EXACT_DB

    def text(snr_db: float | None) -> str:
        return "-" if snr_db is None else "exact" if snr_db >= EXACT_DB else f"{snr_db:.1f}"

    cells = (row.op, row.node, row.tensor, "int8" if row.int8 else "float", text(row.local_db), text(row.cumulative_db))
    return (*cells, text(row.output_db)) if with_outputs else cells


def _lengths(info: "TensorInfo") -> str:
    """1×3×16..32×?, or the only shapes that there are."""
    if info.choices:
        return " or ".join(map(lengths_text, info.choices))
    bounds = dict(zip(info.open_axes, info.ranges, strict=False))

    def text(axis: int, length: int | None) -> str:
        low, high = bounds.get(axis, (None, None))
        if low is not None:
            return f"{low}..{high if high is not None else ''}"
        return "?" if length is None or axis in info.open_axes else str(length)

    return "×".join(text(axis, length) for axis, length in enumerate(info.shape))


def _stated(found: "Model") -> dict[str, str]:
    """What a .tflite file says of itself to Android's tools, a package to Xcode."""
    names = ("name", "description", "version", "author", "license", "normalization", "labels")
    says = found.format in (Format.TFLITE, Format.COREML)
    return {name: found.metadata[name] for name in names if says and name in found.metadata}


def document(found: "Model") -> dict[str, object]:
    import json

    return {
        "format": found.format,
        "precision": found.precision,
        "size_bytes": found.size_bytes,
        "macs": found.macs if found.ops else None,
        "parameters": found.parameters,
        "parameter_bytes": found.parameter_bytes,
        "int8_share": found.int8_share if found.ops else None,
        "transposes": found.transposes if found.ops else None,
        "metadata": _stated(found),
        "contract": json.loads(found.contract.to_json()),
        "operators": [dataclasses.asdict(op) for op in found.ops],
    }


def _shape(found: "Model", outputs: tuple[str, ...]) -> str:
    return ", ".join(lengths_text(found.tensors[name].shape) for name in outputs if name in found.tensors)
