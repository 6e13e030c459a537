"""The last touch: order, names, and nothing in the file that speaks of the machine that made it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir

IR_VERSION = 10  # the one of opset 21


def tidy_names(model: "ir.Model") -> int:
    """Relu "" → Relu "Relu_out" (named by its output): unique names, topological order, no docstrings or metadata."""
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass, NameFixPass, TopologicalSortPass

    TopologicalSortPass()(model)
    ClearMetadataAndDocStringPass()(model)
    model.graph.metadata_props.clear()
    model.doc_string = model.graph.doc_string = None
    model.ir_version = IR_VERSION
    unnamed = [node for node in model.graph if not node.name]
    for node in unnamed:
        node.name = f"{node.op_type}_{node.outputs[0].name}"
    NameFixPass()(model)
    return len(unnamed)
