"""`edgewright inspect`."""

from typing import TYPE_CHECKING, Annotated

import typer

from edgewright.benchmarks.units import bytes_text
from edgewright.cli.console import Json, emit, table

if TYPE_CHECKING:
    from edgewright.runtimes.read import Model


def command(
    artifact: Annotated[str, typer.Argument(metavar="ARTIFACT")],
    json_: Json = False,
) -> None:
    """What a model file truly is: operators, dtypes, sizes, transposes, quantization, I/O.

    Example: edgewright inspect int8.tflite
    """
    from edgewright import api

    found = api.inspect(artifact)
    if json_:
        return emit(document(found))
    print(f"{artifact}: {found.format}:{found.precision}, {bytes_text(found.size_bytes)}")
    weights = f"  weights {bytes_text(found.parameter_bytes)} ({found.parameters:,} numbers)"
    if found.ops:
        print(f"{weights}, {found.macs:,} MACs")
        print(f"  int8 share of the MACs {found.int8_share:.1%}, {found.transposes} transposes")
    else:
        print(f"{weights}; operators are known once it is exported")
    for kind, infos in (("input", found.contract.inputs), ("output", found.contract.outputs)):
        for info in infos:
            shape = "×".join("?" if n is None else str(n) for n in info.shape)
            stored = f", stored as {info.file_dtype}" if info.file_dtype and info.file_dtype != info.dtype else ""
            order = f", transposed by {info.permutation}" if info.permutation else ""
            print(f"  {kind} {info.name}: {shape} {info.dtype}{stored}{order}")
    if not found.ops:
        return None
    print()
    heads = ("operator", "kind", "computes in", ">MACs", ">weights", "output")
    rows = [
        (op.op_type, op.kind, op.compute_dtype, f"{op.macs:,}", bytes_text(op.weight_bytes), _shape(found, op.outputs))
        for op in found.ops
    ]
    return table("", heads, rows)


def document(found: "Model") -> dict[str, object]:
    import dataclasses
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
        "contract": json.loads(found.contract.to_json()),
        "operators": [dataclasses.asdict(op) for op in found.ops],
    }


def _shape(found: "Model", outputs: tuple[str, ...]) -> str:
    tensors = [found.tensors[name] for name in outputs if name in found.tensors]
    return ", ".join("×".join("?" if n is None else str(n) for n in tensor.shape) for tensor in tensors)
