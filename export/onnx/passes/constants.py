"""Constants live in one place: the initializers."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir


def lift_constants(model: "ir.Model") -> int:
    """Constant → Add(x, ·) becomes Add(x, initializer); initializers leave the graph's inputs (IR version 3)."""
    import onnx_ir as ir
    from onnx_ir.passes.common import LiftConstantsToInitializersPass, RemoveInitializersFromInputsPass

    before = len(model.graph.initializers) - len(model.graph.inputs)
    RemoveInitializersFromInputsPass()(model)
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    for value in model.graph.initializers.values():
        if value.const_value is not None:  # what is known of it may date from before it was computed
            value.shape, value.dtype = ir.Shape(value.const_value.shape.numpy()), value.const_value.dtype
    return len(model.graph.initializers) - len(model.graph.inputs) - before
