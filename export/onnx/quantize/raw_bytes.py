"""Bytes that come in are codes already: the grid of uint8 (+ a whole number) has scale 1; quantizing moves codes."""

from typing import TYPE_CHECKING

from edgewright.export.onnx.graph import constant
from edgewright.export.onnx.quantize.grid import HIGH, LOW, Grid

if TYPE_CHECKING:
    import onnx_ir as ir


def bytes_grid(value: "ir.Value") -> Grid | None:
    """Of Cast(uint8), or of Add(Cast(uint8), a constant whole number that leaves zero among the values); else None."""
    node, offset = value.producer(), 0.0
    if node is not None and node.op_type == "Add":
        held = constant(node, 1)
        offset = float("nan") if held is None or held.size != 1 else float(held.item())
        node = None if node.inputs[0] is None else node.inputs[0].producer()
    if node is None or node.op_type != "Cast" or node.inputs[0] is None or node.inputs[0].dtype is None:
        return None
    if node.inputs[0].dtype.name != "UINT8" or not offset.is_integer() or not LOW - HIGH <= offset <= 0:
        return None
    return Grid(1.0, LOW - int(offset))
