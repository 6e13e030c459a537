"""ONNX → TFLite: the three steps, and the order of what they do."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgewright.errors import BadInput, BadModel, Error, WriteFailed, nearest
from edgewright.export.metadata import Metadata
from edgewright.export.onnx.counted import counted_names, counting_nodes
from edgewright.export.onnx.decompose import EXPANSIONS, decompose
from edgewright.export.onnx.file import contract_of, reopen
from edgewright.export.onnx.opening import at_trial_lengths
from edgewright.export.onnx.passes.control_flow import fold_control_flow
from edgewright.export.onnx.passes.group_norm import fuse_group_norm
from edgewright.export.onnx.passes.widening import widen_scans
from edgewright.export.onnx.quantize.ends import IoType, check_io, set_io
from edgewright.export.onnx.quantize.factors import EQUALIZED_KEY
from edgewright.export.onnx.quantize.recode import recode
from edgewright.export.reasons import REASONS
from edgewright.export.steps import Job, Notes, step
from edgewright.export.tflite.activations import fuse_activations
from edgewright.export.tflite.builder import Builder, Op, Subgraph
from edgewright.export.tflite.captures import pass_captured_values
from edgewright.export.tflite.counted import with_counts
from edgewright.export.tflite.dynamic import for_any_length
from edgewright.export.tflite.flatbuffer import check_size, constant_bytes, min_runtime_version, serialize
from edgewright.export.tflite.layout import LAST, ORIGINAL, Form, Layout
from edgewright.export.tflite.linear import fold_affine, fuse_biases
from edgewright.export.tflite.lower import GraphLowering
from edgewright.export.tflite.metadata import attach, describe, files_of
from edgewright.export.tflite.projections import fold_factors, part_projections
from edgewright.export.tflite.quantization import Int8, fold_quantization
from edgewright.export.tflite.rules import TFLITE
from edgewright.export.tflite.tensor import Tensor
from edgewright.export.tflite.wrapping import HEAVY
from edgewright.runtimes.artifact import Artifact
from edgewright.runtimes.contract import CONTRACT_KEY, Contract, TensorInfo
from edgewright.runtimes.read.model_metadata import METADATA_KEY

if TYPE_CHECKING:
    import onnx_ir as ir

NEEDS = {"ai-edge-litert": "tflite", "flatbuffers": "tflite", "onnx-ir": "onnx"}
LAYOUTS = ("original", "nhwc")


@dataclass(frozen=True)
class TfliteOptions:
    """`layout`: whether images enter and leave in the original's order, or channels last without a TRANSPOSE.
    `metadata`: what Android's tools read off the file."""

    layout: Literal["original", "nhwc"] = "original"
    metadata: Metadata | None = None

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise BadInput(f"layout {self.layout!r}: {nearest(str(self.layout), LAYOUTS)}")


@dataclass(frozen=True)
class TfliteInt8Options(TfliteOptions):
    """`io`: whether inputs and outputs are float, or codes, whose scale and zero point the contract tells."""

    io: Literal["float", "int8", "uint8"] = "float"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_io(self.io)


@dataclass(frozen=True)
class Converted:
    """The bytes of the file, its contract, its operators in order (after the main graph's those of the subgraphs that
    it calls), and what goes on record."""

    content: bytes
    contract: Contract
    ops: tuple[Op, ...]
    notes: Notes


@step(source="onnx:float32", target="tflite:float32", needs=NEEDS, cost=0.1, options=TfliteOptions)
def tflite_float32(source: Artifact, out: Path, job: Job, options: TfliteOptions) -> Notes:  # noqa: ARG001
    """Float weights and arithmetic."""
    return write(out, convert(load(source.path), layout=options.layout, metadata=options.metadata))


@step(source="onnx:float32", target="tflite:float16", needs=NEEDS, cost=0.1, options=TfliteOptions)
def tflite_float16(source: Artifact, out: Path, job: Job, options: TfliteOptions) -> Notes:  # noqa: ARG001
    """FLOAT16 weights with a DEQUANTIZE each: TFLite's CPU kernels compute in float32."""
    return write(out, convert(load(source.path), layout=options.layout, metadata=options.metadata, half=True))


@step(source="onnx:int8", target="tflite:int8", needs=NEEDS, cost=0.1, options=TfliteInt8Options)
def tflite_int8(source: Artifact, out: Path, job: Job, options: TfliteInt8Options) -> Notes:  # noqa: ARG001
    """The int8 truth of the ONNX file, scale for scale.

    Raises Error when nothing of it is int8, or a convolution or matrix product is not.
    """
    model = load(source.path)
    recode(model, "s8s8")
    converted = convert(model, layout=options.layout, metadata=options.metadata, io=options.io)
    check_int8(converted, source.path)
    return write(out, converted)


@step(source="onnx:mixed", target="tflite:mixed", needs=NEEDS, cost=0.1, options=TfliteOptions)
def tflite_mixed(source: Artifact, out: Path, job: Job, options: TfliteOptions) -> Notes:  # noqa: ARG001
    """The plan of the ONNX file: int8 kernels, and float32 ones between DEQUANTIZE and QUANTIZE.

    In the loop of a recurrent layer, where weights are read again in each step, kernels multiply them as int8 and
    quantize the state at run time.
    """
    made = convert(load(source.path), layout=options.layout, metadata=options.metadata, dynamic_inside=True)
    return write(out, made)


@step(source="onnx:int8-weights", target="tflite:int8-weights", needs=NEEDS, cost=0.1, options=TfliteOptions)
def tflite_int8_weights(source: Artifact, out: Path, job: Job, options: TfliteOptions) -> Notes:  # noqa: ARG001
    """The ONNX file's int8 weights with a DEQUANTIZE each; arithmetic in float."""
    return write(out, convert(load(source.path), layout=options.layout, metadata=options.metadata))


@step(source="onnx:int8-weights", target="tflite:int8-dynamic", needs=NEEDS, cost=0.1, options=TfliteOptions)
def tflite_int8_dynamic(source: Artifact, out: Path, job: Job, options: TfliteOptions) -> Notes:  # noqa: ARG001
    """The ONNX file's int8 weights, multiplied as they are: kernels quantize their float inputs at run time.

    Weights that it leaves in float (depthwise ones) are stored as float16.
    """
    model = load(source.path)
    return write(out, convert(model, layout=options.layout, metadata=options.metadata, half=True, dynamic=True))


def convert(
    model: "ir.Model",
    *,
    layout: str = "original",
    half: bool = False,
    dynamic: bool = False,
    dynamic_inside: bool = False,
    io: IoType = "float",
    metadata: Metadata | None = None,
    micro: bool = False,
    spelled_out: Collection[str] = (),
) -> Converted:
    """Lower `model`, which is rewritten on the way.

    `dynamic`: int8 weights are multiplied as they are; `dynamic_inside`: in subgraphs. `micro`: with tflite-micro's
    operators only, and without what it does not read. `spelled_out`: operators to be decomposed although a rule takes
    them.
    Raises UnsupportedOps listing every operator or case that TFLite cannot express, BadModel when a shape is unknown.
    """
    if layout not in LAYOUTS:
        raise BadInput(f"layout {layout!r}: {nearest(layout, LAYOUTS)}")
    check_size(_weight_bytes(model.graph, half))
    _complete(model)
    set_io(model, io)
    contract = _contract(model, layout)
    contract = _with_int32(contract) if micro else contract

    if micro:
        contract = contract.closed()
    (model, *longer), trials = (with_counts if counting_nodes(model.graph) else at_trial_lengths)(model, contract)
    new_builder = partial(Builder, half=half, dynamic=dynamic, dynamic_inside=dynamic_inside, micro=micro)
    builder = new_builder()
    main, int8 = _main(model, contract, builder, spelled_out)
    for other in longer:
        main = for_any_length(main, _main(other, contract, new_builder(), spelled_out)[0], trials)
    carried = {CONTRACT_KEY: contract.to_json().encode()}
    if EQUALIZED_KEY in model.metadata_props and not micro:
        carried[EQUALIZED_KEY] = model.metadata_props[EQUALIZED_KEY].encode()
    names = [[str(value.name) for value in values] for values in (model.graph.inputs, model.graph.outputs)]
    if metadata is not None:
        carried[METADATA_KEY] = describe(metadata, contract, names[0], names[1])
    content = serialize(main, names[0], names[1], carried, lean=micro)
    content = attach(content, files_of(metadata) if metadata else {})
    ops = main.all_ops()
    return Converted(content, contract, ops, _notes(model.graph, ops, int8, builder, len(content)))


def _main(
    model: "ir.Model", contract: Contract, builder: Builder, spelled_out: Collection[str]
) -> tuple[Subgraph, Int8]:
    """The main graph at the lengths that the model has, and what of it is int8."""

    def takes(node: "ir.Node") -> bool:
        whole = node.op_type in REASONS and node.op_type not in EXPANSIONS.rules()  # its body would be refused instead
        return whole or (node.op_type not in spelled_out and TFLITE.takes(node))

    fuse_group_norm(model)
    decompose(model, takes)
    fixed = not builder.micro and contract == contract.closed()  # how many steps are left over hangs on the length
    if fold_control_flow(model) + (widen_scans(model) if fixed else 0):
        fold_control_flow(model)
        decompose(model, takes)
    TFLITE.check_coverage(model.graph.all_nodes(), REASONS)
    if unknown := _unknown(model.graph):
        raise BadModel(
            f"spelled out in simpler operators, {', '.join(unknown[:5])} got no shape: element types that do not match "
            "may be the cause; export the model in float32"
        )
    pass_captured_values(model.graph)
    activations: dict[ir.Node, str] = {}
    int8 = Int8()
    for graph in (model.graph, *model.graph.subgraphs()):
        activations.update(fuse_activations(graph))
        int8.add(fold_quantization(graph))
        fuse_biases(graph, activations, int8.nodes)
        fold_affine(graph, int8.nodes)
        part_projections(graph, {*int8.nodes, *activations})
        fold_factors(graph, {*int8.nodes, *activations})
    ends = _ends(model.graph, contract)
    lowering = GraphLowering(builder, Layout(model.graph, TFLITE.rules(), ends), int8, activations)
    return _lower(lowering, builder, model.graph, ends), int8


def _lower(lowering: GraphLowering, builder: Builder, graph: "ir.Graph", ends: Mapping["ir.Value", Form]) -> Subgraph:
    inputs = [lowering.enter(value) for value in graph.inputs]
    lowering.lower(list(graph))
    outputs: list[Tensor] = []
    for value in graph.outputs:
        outputs.append(lowering.leave(value, ends.get(value, ORIGINAL), set(outputs)))
    return Subgraph("main", tuple(builder.live(outputs)), tuple(inputs), tuple(outputs))


def check_int8(converted: Converted, path: Path) -> None:
    """Raises Error when nothing of the ONNX file at `path` is int8, or a convolution or matrix product is not."""
    if not converted.notes["int8_ops"]:
        raise Error(f"{path}: no operator is quantized; give the file that `onnx:int8` made")
    heavy = [name for name in converted.notes["float_ops"] if name.endswith(tuple(f"({op})" for op in HEAVY))]
    if heavy:
        raise Error(f"{path}: as int8, heavy operators of it would run in float: {', '.join(heavy)}")


def _weight_bytes(graph: "ir.Graph", half: bool) -> int:
    constants = [value.const_value for value in graph.initializers.values() if value.const_value is not None]
    return sum(each.nbytes // (2 if half and each.dtype.name == "FLOAT" else 1) for each in constants)


def load(path: Path) -> "ir.Model":
    """The ONNX file, its external data left where it is."""
    return reopen(path)


def write(out: Path, converted: Converted) -> Notes:
    """Write the file and give its notes. Raises WriteFailed, leaving nothing."""
    try:
        out.write_bytes(converted.content)
    except OSError as error:
        out.unlink(missing_ok=True)
        raise WriteFailed(
            f"{out}: cannot write ({error.strerror}); free some space or choose another folder"
        ) from error
    return converted.notes


def _complete(model: "ir.Model") -> None:
    """Constants as initializers, a shape and an element type on every value."""
    import onnx_ir.passes.common as passes

    if any(node.op_type == "Constant" for node in model.graph.all_nodes()):
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    counted = counted_names(model.graph)
    if not counted.issuperset(_unknown(model.graph)):
        passes.ShapeInferencePass()(model)
        fold_control_flow(model)
    if unknown := [name for name in _unknown(model.graph) if name not in counted]:
        raise BadModel(
            f"TFLite needs fixed shapes; unknown for {', '.join(unknown[:5])}{' …' if len(unknown) > 5 else ''}. "
            "Convert from the simplified ONNX file, with its dynamic axes fixed; a Loop whose steps differ in shape "
            "needs a constant number of them."
        )


def _unknown(graph: "ir.Graph") -> list[str]:
    made = [output for node in graph.all_nodes() for output in node.outputs if output.name]
    return [
        str(value.name)
        for value in (*graph.inputs, *made)
        if value.shape is None or not value.shape.is_static() or value.dtype is None
    ]


def _contract(model: "ir.Model", layout: str) -> Contract:
    """The source's contract, with images as this file holds them."""
    contract = contract_of(model)
    if layout == "original":
        return contract
    return Contract(tuple(map(_channels_last, contract.inputs)), tuple(map(_channels_last, contract.outputs)))


def _with_int32(contract: Contract) -> Contract:
    """int64 held as int32, as tflite-micro computes with."""

    def narrow(info: TensorInfo) -> TensorInfo:
        return replace(info, file_dtype="int32") if info.dtype == "int64" else info

    return Contract(tuple(map(narrow, contract.inputs)), tuple(map(narrow, contract.outputs)))


def _channels_last(info: TensorInfo) -> TensorInfo:
    return replace(info, permutation=(0, 2, 3, 1)) if len(info.shape) == 4 else info


def _ends(graph: "ir.Graph", contract: Contract) -> Mapping["ir.Value", Form]:
    images = {info.name for info in (*contract.inputs, *contract.outputs) if info.permutation is not None}
    return {value: LAST for value in (*graph.inputs, *graph.outputs) if value.name in images}


def _notes(graph: "ir.Graph", ops: tuple[Op, ...], int8: Int8, builder: Builder, size_bytes: int) -> Notes:
    stored_bytes = constant_bytes(ops)
    heavy = [node for node in graph if node.op_type in HEAVY]
    wrapping = ("QuantizeLinear", "DequantizeLinear")
    floats = [node for node in graph if node not in int8.nodes and node.op_type not in wrapping]
    return {
        "ops": dict(sorted(Counter(op.code for op in ops).items())),
        "constant_bytes": stored_bytes,
        "overhead_bytes": size_bytes - stored_bytes,
        "min_runtime_version": min_runtime_version(ops),
        "float32_beyond_float16": builder.too_large_for_half,
        "int8_ops": len(int8.nodes),
        "float_ops": [f"{node.name} ({node.op_type})" for node in floats] if int8.nodes else [],
        "heavy_int8_share": sum(node in int8.nodes for node in heavy) / len(heavy) if heavy and int8.nodes else 0.0,
    }
