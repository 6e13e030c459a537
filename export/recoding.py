"""The int8 ONNX file as its users' processor and app want it: other codes, the same answers."""

from importlib.metadata import version
from pathlib import Path

from edgewright.data import synthetic
from edgewright.errors import Diverged
from edgewright.export.hop import Hop
from edgewright.export.onnx.quantize.ends import IoType
from edgewright.export.onnx.quantize.recode import CodesForm
from edgewright.export.pipeline import Pipeline
from edgewright.export.steps import Notes

PROBES = 8


def recoded(pipeline: Pipeline, truth: Hop, form: CodesForm, why: str, io: IoType) -> Hop:
    """The truth with its codes in `form` and its ends as `io`; `why` goes on record.

    Raises BadInput where an end has no grid, Diverged unless the graphs as written answer alike to the last bit.
    """

    def write(out: Path) -> Notes:
        return write_recoded(truth.artifact.path, out, form, io) | {"form": form, "why": why, "io": io}

    return pipeline.add(
        name=f"{truth.artifact.spec} {form}" + ("" if io == "float" else f" {io} I/O"),
        spec=truth.artifact.spec,
        parent=truth,
        step="recode",
        module=__name__,
        options={"form": form, "io": io},
        tools={package: version(package) for package in ("onnx", "onnx-ir", "onnxruntime")},
        depends={"why": why},
        write=write,
    )


def write_recoded(truth: Path, out: Path, form: CodesForm, io: IoType) -> Notes:
    """Notes: how many Q and DQ nodes changed, and on how many seeded probes the answers are equal to the truth's."""
    import numpy as np
    import onnx_ir as ir

    from edgewright.export.onnx.file import contract_of, save_model
    from edgewright.export.onnx.quantize.ends import set_io
    from edgewright.export.onnx.quantize.quantized import answers
    from edgewright.export.onnx.quantize.recode import recode

    model = ir.load(truth)
    before = contract_of(model)
    per_call = () if before.is_batched else (None,)
    shapes = {info.name: ((*per_call, *info.shape), info.dtype) for info in before.inputs}
    probes = synthetic(shapes, count=PROBES * (before.inputs[0].shape[0] or 1 if before.is_batched else 1))
    wanted = answers(model, before, probes)
    changed = recode(model, form)
    contract = set_io(model, io)
    given = answers(model, contract, probes)
    different = [
        info.name for info, a, b in zip(contract.outputs, wanted, given, strict=True) if not np.array_equal(a, b)
    ]
    if different:
        raise Diverged(f"{truth}: as {form} with {io} I/O it answers differently in {', '.join(different)}")
    save_model(model, contract, out)
    return {"recoded_nodes": changed, "equal_probes": len(probes)}
