"""Model-local functions become plain nodes."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir


def inline_functions(model: "ir.Model") -> int:
    """MyBlock(x) → Conv(x) → Relu: the body of each function replaces its call."""
    from onnx_ir.passes.common import InlinePass

    count = len(model.functions)
    if count:
        InlinePass()(model)
    return count
