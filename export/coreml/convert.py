"""Clean ONNX → Core ML ML program. Nothing here runs the result: Core ML itself exists on macOS only."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgewright.export.coreml.border import coreml_contract, set_ends
from edgewright.export.coreml.content import describe
from edgewright.export.coreml.interface import Interface, interface
from edgewright.export.coreml.lowerings import COREML
from edgewright.export.coreml.numbers import survives_float16
from edgewright.export.coreml.options import CoremlInt4Options, CoremlInt8Options, CoremlOptions
from edgewright.export.coreml.package import quiet_coremltools, write_package
from edgewright.export.coreml.program import MilProgram, build_program
from edgewright.export.onnx.decompose import EXPANSIONS, decompose
from edgewright.export.onnx.file import contract_of
from edgewright.export.onnx.opening import at_trial_lengths
from edgewright.export.onnx.overflow import float32_ops, overflowing_ops
from edgewright.export.onnx.passes.batch import InputShape
from edgewright.export.onnx.passes.constants import lift_constants
from edgewright.export.onnx.passes.control_flow import CONTROL_FLOW, fold_control_flow
from edgewright.export.onnx.passes.scaling import fold_scaling
from edgewright.export.onnx.quantize.ends import set_io
from edgewright.export.onnx.quantize.recode import FORM_KEY, recode
from edgewright.export.reasons import REASONS
from edgewright.export.steps import Job, Notes, step
from edgewright.runtimes.artifact import Artifact, digest_of
from edgewright.runtimes.contract import TensorInfo

if TYPE_CHECKING:
    import onnx_ir as ir

NEEDS = {"coremltools": "coreml", "onnx-ir": "onnx"}
MEASURING = NEEDS | {"onnx": "onnx", "onnxruntime": "onnx"}


@step(source="onnx:float32", target="coreml:float32", needs=NEEDS, cost=0.4, options=CoremlOptions)
def coreml_float32(source: Artifact, out: Path, job: Job, options: CoremlOptions) -> Notes:  # noqa: ARG001
    return convert(source.path, out, options, np.float32)


@step(
    source="onnx:float32",
    target="coreml:float16",
    needs=MEASURING,
    cost=0.4,
    options=CoremlOptions,
    uses_data="if given",
)
def coreml_float16(source: Artifact, out: Path, job: Job, options: CoremlOptions) -> Notes:
    """float16 weights and arithmetic, but for operators that samples drive beyond its range."""
    return convert(source.path, out, options, np.float16, job)


@step(
    source="onnx:int8",
    target="coreml:int8",
    needs=MEASURING,
    cost=0.4,
    options=CoremlInt8Options,
    uses_data="if given",
)
def coreml_int8(source: Artifact, out: Path, job: Job, options: CoremlInt8Options) -> Notes:
    """The scales of the ONNX file; around the int8 tensors `compute`, but for what samples drive beyond float16."""
    return convert(source.path, out, options, np.float16 if options.compute == "float16" else np.float32, job)


@step(
    source="onnx:mixed",
    target="coreml:mixed",
    needs=MEASURING,
    cost=0.4,
    options=CoremlInt8Options,
    uses_data="if given",
)
def coreml_mixed(source: Artifact, out: Path, job: Job, options: CoremlInt8Options) -> Notes:
    """The plan of the ONNX file; its float operators compute as those of `coreml_int8` do around int8 tensors."""
    return convert(source.path, out, options, np.float16 if options.compute == "float16" else np.float32, job)


@step(
    source="onnx:int8-weights",
    target="coreml:int8-weights",
    needs=MEASURING,
    cost=0.4,
    options=CoremlOptions,
    uses_data="if given",
)
def coreml_int8_weights(source: Artifact, out: Path, job: Job, options: CoremlOptions) -> Notes:
    """int8 weights that the runtime expands; arithmetic as in `coreml_float16`."""
    return convert(source.path, out, options, np.float16, job)


@step(
    source="onnx:int4-weights",
    target="coreml:int4-weights",
    needs=MEASURING,
    cost=0.4,
    options=CoremlInt4Options,
    uses_data="if given",
)
def coreml_int4_weights(source: Artifact, out: Path, job: Job, options: CoremlInt4Options) -> Notes:
    """int4 weights in blocks that the runtime expands; arithmetic as in `coreml_float16`."""
    return convert(source.path, out, options, np.float16, job)


def convert(
    onnx_path: Path,
    out: Path,
    options: CoremlOptions,
    compute: type[np.floating[Any]],
    job: Job | None = None,
    compress: Callable[[Any], Notes] | None = None,
) -> Notes:
    """Write `out`, an .mlpackage folder. Raises UnsupportedOps, BadModel or WriteFailed.

    With samples in `job`, nodes that would overflow on them stay float32 in a float16 program.
    `compress` stores weights of a MIL program in another form, in place, and gives notes of its own.
    Notes: operation counts, bytes of weights, each compressed tensor and where it lies, the nodes that stayed float32
    in a float16 program because of this or because a constant of theirs would not survive the rounding, and what
    those of the first kind reach.
    """
    import onnx_ir as ir

    model = ir.load(onnx_path)
    if FORM_KEY in model.metadata_props:
        recode(model, "s8s8")
    set_io(model, "float")  # a Core ML file cannot take or give codes
    models, trials = at_trial_lengths(model, contract_of(model))
    for each in {model, *models}:
        prepare(each)
    about = interface(coreml_contract(model), options, digest_of(onnx_path))
    overflowing = _overflowing(model, job) if job is not None and compute is np.float16 else {}
    float32 = _with_decoders(model, overflowing)
    stored: Notes = {}
    with quiet_coremltools():
        programs = (_program(each, about, compute, float32, compress, stored) for each in models)
        spec, built = write_package(programs, about, out, trials)
    contract = about.contract
    return {
        "target": options.target,
        "compute": np.dtype(compute).name,
        "float32_nodes": list(built.float32_nodes),
        "overflowing": overflowing,
        "renamed": built.renamed,
        "open_lengths": [f"{info.name}: {_lengths_text(info)}" for info in contract.inputs if info.open_axes],
        "images": {info.name: info.image for info in contract.inputs if info.image is not None},
        "classifier": about.scores,
        "scalars_as_vectors": [info.name for info in (*contract.inputs, *contract.outputs) if not info.shape],
        **describe(spec, out),
        **stored,
    }


def _program(
    model: "ir.Model",
    about: Interface,
    compute: type[np.floating[Any]],
    float32: Collection[str],
    compress: Callable[[Any], Notes] | None,
    stored: Notes,
) -> MilProgram:
    """What `compress` did is added to `stored`: it is the same at every length."""
    set_ends(model.graph, about.contract)
    built = build_program(model.graph, about.options.opset, compute, float32)
    if compress is not None:
        stored.update(compress(built.program))
    return built


def _lengths_text(info: TensorInfo) -> str:
    return str(InputShape(tuple(int(n or 1) for n in info.shape), info.open_axes, info.ranges, info.choices))


def prepare(model: "ir.Model") -> None:
    """Spell out, in place, what MIL lacks, fold If, Loop and Scan whose course is known then, and fold normalization
    in front of a layer into its weights: what an image brings along."""

    def takes(node: "ir.Node") -> bool:
        whole = node.op_type in REASONS and node.op_type not in EXPANSIONS.rules()  # its body would be refused instead
        return whole or COREML.takes(node)

    lift_constants(model)
    if any(node.op_type in CONTROL_FLOW for node in model.graph):
        fold_control_flow(model)
    if decompose(model, takes) and fold_control_flow(model):
        decompose(model, takes)
    fold_scaling(model)


def _overflowing(model: "ir.Model", job: Job) -> dict[str, str]:
    """Names of the nodes that the job's samples keep in float32, with the reason."""
    if any(node.op_type == "QuantizeLinear" for node in model.graph):
        return overflowing_ops(model, contract_of(model), job)
    return float32_ops(model, contract_of(model), job, _unfit(model))


def _unfit(model: "ir.Model") -> dict[str, str]:
    """Names of the nodes that stay float32 in any case: a constant of theirs would not survive the rounding."""
    return {
        str(node.name): "a constant"
        for node in model.graph
        if not all(v is None or v.const_value is None or survives_float16(v.const_value.numpy()) for v in node.inputs)
    }


def _with_decoders(model: "ir.Model", names: Collection[str]) -> set[str]:
    """These nodes and the DequantizeLinear nodes that give them weights: what expands in float16 reads as float16."""
    decoders = {
        str(above.name)
        for node in model.graph
        if node.name in names
        for value in node.inputs
        if value is not None and (above := value.producer()) is not None and above.op_type == "DequantizeLinear"
    }
    return {*names, *decoders}
