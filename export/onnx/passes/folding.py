"""What depends on constants alone is computed now."""

from typing import TYPE_CHECKING

import numpy as np

from edgewright.errors import BadModel
from edgewright.export.onnx.graph import constant, shape_of
from edgewright.export.onnx.passes.constants import lift_constants
from edgewright.export.onnx.passes.shapes import infer_shapes

if TYPE_CHECKING:
    import onnx_ir as ir

LIMIT_ELEMENTS = 2**26  # no folded tensor is larger (256 MiB of float32)


def fold_constants(model: "ir.Model") -> int:
    """Add(Slice(W), c) → initializer. Codebooks (Gather) and quantized weights (DequantizeLinear) stay.

    Raises BadModel where the library cannot read an operator.
    """
    from onnxscript.optimizer import fold_constants_ir

    before, left = len(model.graph), len(model.graph) + 1
    while len(model.graph) < left:
        left = len(model.graph)
        try:
            fold_constants_ir(
                model, input_size_limit=LIMIT_ELEMENTS, output_size_limit=LIMIT_ELEMENTS, should_fold=_may_fold
            )
        except RuntimeError as error:  # how it says that an operator's operands make no sense to it
            raise BadModel(f"constants cannot be folded: {error}") from error
        lift_constants(model)
        if all(shape_of(output) is not None for node in model.graph for output in node.outputs):
            break
        infer_shapes(model)  # a shape that this makes known is a constant too
    return before - len(model.graph)


def _may_fold(node: "ir.Node") -> bool | None:
    """False keeps the node, None leaves it to the library."""
    if node.op_type in ("DequantizeLinear", "QuantizeLinear"):
        return False
    if node.op_type == "ConstantOfShape":  # pads and shapes hang on small ones; the library would keep them all
        shape = constant(node, 0)
        return shape is not None and int(np.prod(shape)) <= LIMIT_ELEMENTS
    if node.op_type == "Gather":
        book, codes = shape_of(node.inputs[0]), shape_of(node.inputs[1])
        return False if book and codes and _size(codes) > _size(book) else None
    return None


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size
