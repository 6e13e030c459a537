"""Equal constants are stored once."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir


def share_initializers(model: "ir.Model") -> int:
    """Add(x, a), Add(y, b) with a = b becomes Add(x, a), Add(y, a)."""
    from onnx_ir.passes.common import DeduplicateHashedInitializersPass

    before = len(model.graph.initializers)
    DeduplicateHashedInitializersPass()(model)
    return before - len(model.graph.initializers)
