"""Clean ONNX → Core ML ML program. Nothing here runs the result: Core ML itself exists on macOS only."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from edgewright.export.coreml.border import coreml_contract
from edgewright.export.coreml.content import describe
from edgewright.export.coreml.options import CoremlInt8Options, CoremlOptions
from edgewright.export.coreml.package import quiet_coremltools, write_package
from edgewright.export.coreml.program import build_program
from edgewright.export.steps import Job, Notes, step
from edgewright.runtimes.artifact import Artifact
from edgewright.runtimes.contract import CONTRACT_KEY, NAMES_KEY

NEEDS = {"coremltools": "coreml", "onnx-ir": "onnx"}


@step(source="onnx:float32", target="coreml:float32", needs=NEEDS, cost=0.4, options=CoremlOptions)
def coreml_float32(source: Artifact, out: Path, job: Job, options: CoremlOptions) -> Notes:  # noqa: ARG001
    return convert(source.path, out, options, np.float32)


@step(source="onnx:float32", target="coreml:float16", needs=NEEDS, cost=0.4, options=CoremlOptions)
def coreml_float16(source: Artifact, out: Path, job: Job, options: CoremlOptions) -> Notes:  # noqa: ARG001
    return convert(source.path, out, options, np.float16)


@step(source="onnx:int8", target="coreml:int8", needs=NEEDS, cost=0.4, options=CoremlInt8Options)
def coreml_int8(source: Artifact, out: Path, job: Job, options: CoremlInt8Options) -> Notes:  # noqa: ARG001
    return convert(source.path, out, options, np.float16 if options.compute == "float16" else np.float32)


def convert(onnx_path: Path, out: Path, options: CoremlOptions, compute: type[np.floating[Any]]) -> Notes:
    """Write `out`, an .mlpackage folder. Raises UnsupportedOps, BadModel or WriteFailed.

    Notes: operation counts, bytes of weights, each compressed tensor and where it lies, and the nodes that stayed
    float32 in a float16 program because a constant of theirs would not survive the rounding.
    """
    import onnx_ir as ir

    model = ir.load(onnx_path)
    contract = coreml_contract(model)
    with quiet_coremltools():
        built = build_program(model.graph, options.opset, compute)
        metadata = {CONTRACT_KEY: contract.to_json()}
        if built.renamed:
            metadata[NAMES_KEY] = json.dumps(built.renamed, sort_keys=True)
        spec = write_package(built.program, options, metadata, out)
    return {
        "target": options.target,
        "compute": np.dtype(compute).name,
        "float32_nodes": list(built.float32_nodes),
        "renamed": built.renamed,
        "scalars_as_vectors": [info.name for info in (*contract.inputs, *contract.outputs) if not info.shape],
        **describe(spec, out),
    }
