"""ONNX → TFLite: the three steps, and the order of what they do."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgewright.errors import BadInput, BadModel, Error, WriteFailed, nearest
from edgewright.export.onnx.decompose import decompose
from edgewright.export.onnx.file import contract_of
from edgewright.export.onnx.quantize.ends import IoType, check_io, set_io
from edgewright.export.onnx.quantize.factors import EQUALIZED_KEY
from edgewright.export.onnx.quantize.recode import recode
from edgewright.export.steps import Job, Notes, step
from edgewright.export.tflite.activations import fuse_activations
from edgewright.export.tflite.builder import Builder, Op
from edgewright.export.tflite.flatbuffer import min_runtime_version, serialize
from edgewright.export.tflite.layout import LAST, ORIGINAL, Form, Layout
from edgewright.export.tflite.lower import GraphLowering
from edgewright.export.tflite.quantization import Int8, fold_quantization
from edgewright.export.tflite.rules import TFLITE
from edgewright.export.tflite.tensor import Tensor
from edgewright.export.tflite.wrapping import HEAVY
from edgewright.runtimes.artifact import Artifact
from edgewright.runtimes.contract import CONTRACT_KEY, Contract, TensorInfo

if TYPE_CHECKING:
    import onnx_ir as ir

NEEDS = {"ai-edge-litert": "tflite", "flatbuffers": "tflite", "onnx-ir": "onnx"}
LAYOUTS = ("original", "nhwc")


@dataclass(frozen=True)
class TfliteOptions:
    """`layout`: whether images enter and leave in the original's order, or channels last without a TRANSPOSE."""

    layout: Literal["original", "nhwc"] = "original"

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
    """The bytes of the file, its contract, its operators in order, and what goes on record."""

    content: bytes
    contract: Contract
    ops: tuple[Op, ...]
    notes: Notes


@step(source="onnx:float32", target="tflite:float32", needs=NEEDS, cost=0.1, options=TfliteOptions)
def tflite_float32(source: Artifact, out: Path, job: Job, options: TfliteOptions) -> Notes:  # noqa: ARG001
    """Float weights and arithmetic."""
    return _write(out, convert(_load(source.path), layout=options.layout))


@step(source="onnx:float32", target="tflite:float16", needs=NEEDS, cost=0.1, options=TfliteOptions)
def tflite_float16(source: Artifact, out: Path, job: Job, options: TfliteOptions) -> Notes:  # noqa: ARG001
    """FLOAT16 weights with a DEQUANTIZE each: TFLite's CPU kernels compute in float32."""
    return _write(out, convert(_load(source.path), layout=options.layout, half=True))


@step(source="onnx:int8", target="tflite:int8", needs=NEEDS, cost=0.1, options=TfliteInt8Options)
def tflite_int8(source: Artifact, out: Path, job: Job, options: TfliteInt8Options) -> Notes:  # noqa: ARG001
    """The int8 truth of the ONNX file, scale for scale.

    Raises Error when nothing of it is int8, or a convolution or matrix product is not.
    """
    model = _load(source.path)
    recode(model, "s8s8")
    converted = convert(model, layout=options.layout, io=options.io)
    if not converted.notes["int8_ops"]:
        raise Error(f"{source.path}: no operator is quantized; give the file that `onnx:int8` made")
    heavy = [name for name in converted.notes["float_ops"] if name.endswith(tuple(f"({op})" for op in HEAVY))]
    if heavy:
        raise Error(f"{source.path}: as int8, heavy operators of it would run in float: {', '.join(heavy)}")
    return _write(out, converted)


@step(source="onnx:mixed", target="tflite:mixed", needs=NEEDS, cost=0.1, options=TfliteOptions)
def tflite_mixed(source: Artifact, out: Path, job: Job, options: TfliteOptions) -> Notes:  # noqa: ARG001
    """The plan of the ONNX file: int8 kernels, and float32 ones between DEQUANTIZE and QUANTIZE."""
    return _write(out, convert(_load(source.path), layout=options.layout))


@step(source="onnx:int8-weights", target="tflite:int8-weights", needs=NEEDS, cost=0.1, options=TfliteOptions)
def tflite_int8_weights(source: Artifact, out: Path, job: Job, options: TfliteOptions) -> Notes:  # noqa: ARG001
    """The ONNX file's int8 weights with a DEQUANTIZE each; arithmetic in float."""
    return _write(out, convert(_load(source.path), layout=options.layout))


@step(source="onnx:int8-weights", target="tflite:int8-dynamic", needs=NEEDS, cost=0.1, options=TfliteOptions)
def tflite_int8_dynamic(source: Artifact, out: Path, job: Job, options: TfliteOptions) -> Notes:  # noqa: ARG001
    """The ONNX file's int8 weights, multiplied as they are: kernels quantize their float inputs at run time."""
    return _write(out, convert(_load(source.path), layout=options.layout, dynamic=True))


def convert(
    model: "ir.Model",
    *,
    layout: str = "original",
    half: bool = False,
    dynamic: bool = False,
    io: IoType = "float",
) -> Converted:
    """Lower `model`, which is rewritten on the way.

    Raises UnsupportedOps listing every operator or case that TFLite cannot express, BadModel when a shape is unknown.
    """
    if layout not in LAYOUTS:
        raise BadInput(f"layout {layout!r}: {nearest(layout, LAYOUTS)}")
    graph = model.graph
    _complete(model)
    set_io(model, io)
    contract = _contract(model, layout)
    decompose(model, TFLITE.takes)
    TFLITE.check_coverage(graph)
    activations = fuse_activations(graph)
    int8 = fold_quantization(graph)
    ends = _ends(graph, contract)
    builder = Builder(half=half, dynamic=dynamic)
    lowering = GraphLowering(builder, Layout(graph, TFLITE.rules(), ends), int8, activations)
    inputs = {str(value.name): lowering.enter(value) for value in graph.inputs}
    lowering.lower(list(graph))
    outputs: dict[str, Tensor] = {}
    for value in graph.outputs:
        outputs[str(value.name)] = lowering.leave(value, ends.get(value, ORIGINAL), set(outputs.values()))
    ops = tuple(builder.live(list(outputs.values())))
    carried = {CONTRACT_KEY: contract.to_json()}
    if EQUALIZED_KEY in model.metadata_props:
        carried[EQUALIZED_KEY] = model.metadata_props[EQUALIZED_KEY]
    content = serialize(ops, inputs, outputs, {key: text.encode() for key, text in carried.items()})
    return Converted(content, contract, ops, _notes(graph, ops, int8, builder, len(content)))


def _load(path: Path) -> "ir.Model":
    import onnx_ir as ir

    return ir.load(path)


def _write(out: Path, converted: Converted) -> Notes:
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

    if any(node.op_type == "Constant" for node in model.graph):
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    if _unknown(model.graph):
        passes.ShapeInferencePass()(model)
    if unknown := _unknown(model.graph):
        raise BadModel(
            f"TFLite needs fixed shapes; unknown for {', '.join(unknown[:5])}{' …' if len(unknown) > 5 else ''}. "
            "Convert from the simplified ONNX file, with its dynamic axes fixed."
        )


def _unknown(graph: "ir.Graph") -> list[str]:
    made = [output for node in graph for output in node.outputs if output.name]
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


def _channels_last(info: TensorInfo) -> TensorInfo:
    return replace(info, permutation=(0, 2, 3, 1)) if len(info.shape) == 4 else info


def _ends(graph: "ir.Graph", contract: Contract) -> Mapping["ir.Value", Form]:
    images = {info.name for info in (*contract.inputs, *contract.outputs) if info.permutation is not None}
    return {value: LAST for value in (*graph.inputs, *graph.outputs) if value.name in images}


def _notes(graph: "ir.Graph", ops: tuple[Op, ...], int8: Int8, builder: Builder, size_bytes: int) -> Notes:
    constants = {
        tensor.data.tobytes() for op in ops for tensor in op.inputs if tensor is not None and tensor.data is not None
    }
    constant_bytes = sum(map(len, constants))
    heavy = [node for node in graph if node.op_type in HEAVY]
    wrapping = ("QuantizeLinear", "DequantizeLinear")
    floats = [node for node in graph if node not in int8.nodes and node.op_type not in wrapping]
    return {
        "ops": dict(sorted(Counter(op.code for op in ops).items())),
        "constant_bytes": constant_bytes,
        "overhead_bytes": size_bytes - constant_bytes,
        "min_runtime_version": min_runtime_version(ops),
        "float32_beyond_float16": builder.too_large_for_half,
        "int8_ops": len(int8.nodes),
        "float_ops": [f"{node.name} ({node.op_type})" for node in floats] if int8.nodes else [],
        "heavy_int8_share": sum(node in int8.nodes for node in heavy) / len(heavy) if heavy and int8.nodes else 0.0,
    }
