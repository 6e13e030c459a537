"""Equal constants are stored once."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx_ir as ir


def share_initializers(model: "ir.Model") -> int:
    """Add(x, a), Add(y, b) with a = b becomes Add(x, a), Add(y, a)."""
    from onnx_ir.passes.common import DeduplicateHashedInitializersPass

    before = len(model.graph.initializers)
    _lay_out(model)
    DeduplicateHashedInitializersPass()(model)
    return before - len(model.graph.initializers)


def _lay_out(model: "ir.Model") -> None:
    """A folded Transpose leaves a view, which the pass cannot hash."""
    import onnx_ir as ir

    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        if tensor is not None and not tensor.dtype.is_string() and not tensor.numpy().flags.c_contiguous:
            array = np.ascontiguousarray(tensor.numpy())
            value.const_value = ir.Tensor(array, dtype=tensor.dtype, name=name)
