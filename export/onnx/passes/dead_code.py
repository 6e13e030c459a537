"""What no output needs is removed."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir


def remove_dead_code(model: "ir.Model") -> int:
    """x → Relu → y, x → Exp → (nothing) becomes x → Relu → y; unused initializers, functions and opsets likewise."""
    from onnx_ir.passes.common import RemoveUnusedFunctionsPass, RemoveUnusedNodesPass, RemoveUnusedOpsetsPass

    before = len(model.graph) + len(model.graph.initializers)
    functions = RemoveUnusedFunctionsPass()  # type: ignore[no-untyped-call]
    for remove in (RemoveUnusedNodesPass(), functions, RemoveUnusedOpsetsPass()):
        remove(model)
    return before - len(model.graph) - len(model.graph.initializers)
