"""Operators that no backend takes whole, before anything is decided for their parts."""

from typing import TYPE_CHECKING

from edgewright.export.onnx.decompose import expand, standard_nodes
from edgewright.export.onnx.passes.shapes import infer_shapes

if TYPE_CHECKING:
    import onnx_ir as ir

SPELLED_OUT = ("Compress", "Einsum")
"""Its products can run in int8, and its shape is known only so where the equation has dots."""


def spell_out(model: "ir.Model") -> int:
    """Einsum(q, k; bhqd,bhkd->bhqk) → MatMul(q, Transpose(k))."""
    count = sum(expand(node) for node in standard_nodes(model) if node.op_type in SPELLED_OUT)
    if count:
        infer_shapes(model)
    return count
