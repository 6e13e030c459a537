"""Every backend sees one opset."""

from typing import TYPE_CHECKING

from edgewright.errors import BadModel
from edgewright.export.lowering import INTERNAL_OPSET
from edgewright.export.onnx.passes.newer import lower_opset

if TYPE_CHECKING:
    import onnx_ir as ir

FIRST_COORDINATES = 11  # the opset since which Resize says where its pixels lie
FIRST_FREE_CONSTANTS = 4  # the IR version since which an initializer need be no input
SMALL_BYTES = 1024  # of a constant that the converter may look into: axes, shapes, scales
HINT = f"export the model with opset {INTERNAL_OPSET}"


def upgrade_opset(model: "ir.Model") -> int:
    """ReduceMean-13(x, axes=…) → ReduceMean-21(x, axes): every operator at the internal opset.

    Raises BadModel when an older model cannot be converted by onnx, or a newer one has what the internal opset lacks.
    """
    have = model.opset_imports.get("", model.opset_imports.get("ai.onnx"))
    if have is None:  # it has operators of other domains alone
        model.opset_imports[""] = INTERNAL_OPSET
    if have in (None, INTERNAL_OPSET):
        return 0
    if have > INTERNAL_OPSET:
        return lower_opset(model, have)
    if have < 7 and _has_channel_slopes(model):
        raise BadModel(
            f"PRelu of opset {have} broadcasts its slopes along channels, which the converter gets wrong; {HINT}"
        )
    if have == 8 and any(node.op_type == "Scan" for node in model.graph.all_nodes()):
        raise BadModel(f"Scan of opset 8 has a batch axis, which the converter loses; {HINT}")
    try:
        converted = _converted(model)
    except Exception as error:  # the converter raises RuntimeError and its own kinds
        raise BadModel(f"opset {have} cannot be converted to {INTERNAL_OPSET}: {error}; {HINT}") from error
    model.graph = converted
    if have < FIRST_COORDINATES:
        _keep_coordinates(model)
    return 1


def _converted(model: "ir.Model") -> "ir.Graph":
    """The graph at the internal opset. The converter copies what it gets several times, so weights are inputs to it."""
    import onnx.version_converter
    import onnx_ir as ir

    graph = model.graph
    inputs, tensors = {value.name for value in graph.inputs}, {}
    for name, value in list(graph.initializers.items()):
        tensor = value.const_value
        if tensor is not None and tensor.nbytes > SMALL_BYTES:
            value.shape, value.dtype = ir.Shape(tensor.shape.numpy()), tensor.dtype
            del graph.initializers[name]
            tensors[name], value.const_value = tensor, None
            if name not in inputs:
                graph.inputs.append(value)
    proto = ir.to_proto(model)
    proto.ir_version = max(proto.ir_version, FIRST_FREE_CONSTANTS)
    made = ir.from_proto(onnx.version_converter.convert_version(proto, INTERNAL_OPSET)).graph
    for value in list(made.inputs):
        if value.name in tensors:
            value.const_value = tensors[value.name]
            if value.name not in inputs:
                made.inputs.remove(value)
            made.register_initializer(value)
    return made


def _keep_coordinates(model: "ir.Model") -> None:
    """Until opset 10 a pixel i of the result lay at i / scale; the converter leaves the default of today."""
    import onnx_ir as ir

    for node in model.graph.all_nodes():
        if node.op_type == "Resize":
            node.attributes["coordinate_transformation_mode"] = ir.AttrString(
                "coordinate_transformation_mode", "asymmetric"
            )
            node.attributes["nearest_mode"] = ir.AttrString("nearest_mode", "floor")


def _has_channel_slopes(model: "ir.Model") -> bool:
    """Since opset 7 slopes [C] would meet the last axis, not the channels."""
    slopes = [node.inputs[1] for node in model.graph if node.op_type == "PRelu"]
    return any(
        slope is None or slope.shape is None or (len(slope.shape) == 1 and slope.shape[0] != 1) for slope in slopes
    )
