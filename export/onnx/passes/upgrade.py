"""Every backend sees one opset."""

from typing import TYPE_CHECKING

from edgewright.errors import BadModel
from edgewright.export.lowering import INTERNAL_OPSET

if TYPE_CHECKING:
    import onnx_ir as ir

HINT = f"export the model with opset {INTERNAL_OPSET}"


def upgrade_opset(model: "ir.Model") -> int:
    """ReduceMean-13(x, axes=…) → ReduceMean-21(x, axes): every operator at the internal opset.

    Raises BadModel when the converter of onnx cannot express the model there.
    """
    import onnx.version_converter
    import onnx_ir as ir

    have = model.opset_imports.get("", model.opset_imports.get("ai.onnx"))
    if have == INTERNAL_OPSET:
        return 0
    if have is not None and have < 7 and _has_channel_slopes(model):
        raise BadModel(
            f"PRelu of opset {have} broadcasts its slopes along channels, which the converter gets wrong; {HINT}"
        )
    try:
        converted = onnx.version_converter.convert_version(ir.to_proto(model), INTERNAL_OPSET)
    except Exception as error:  # the converter raises RuntimeError and its own kinds
        raise BadModel(f"opset {have} cannot be converted to {INTERNAL_OPSET}: {error}; {HINT}") from error
    model.graph = ir.from_proto(converted).graph
    return 1


def _has_channel_slopes(model: "ir.Model") -> bool:
    """Since opset 7 slopes [C] would meet the last axis, not the channels."""
    slopes = [node.inputs[1] for node in model.graph if node.op_type == "PRelu"]
    return any(
        slope is None or slope.shape is None or (len(slope.shape) == 1 and slope.shape[0] != 1) for slope in slopes
    )
