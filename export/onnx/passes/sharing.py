"""Equal constants are stored once."""

from typing import TYPE_CHECKING

import numpy as np

from edgewright.export.onnx.wire import SMALL_BYTES

if TYPE_CHECKING:
    import onnx_ir as ir

HEAD_ELEMENTS = 64


def share_initializers(model: "ir.Model") -> int:
    """Add(x, a), Add(y, b) with a = b becomes Add(x, a), Add(y, a)."""
    from onnx_ir.passes.common import DeduplicateHashedInitializersPass

    before = len(model.graph.initializers)
    _lay_out(model)
    limit = {} if _large_alike(model) else {"size_limit": SMALL_BYTES}
    DeduplicateHashedInitializersPass(**limit)(model)
    return before - len(model.graph.initializers)


def _large_alike(model: "ir.Model") -> bool:
    """Whether two large constants begin alike: else there is no need to hash them all."""
    tensors = [value.const_value for graph in model.graphs() for value in graph.initializers.values()]
    large = [each for each in tensors if each is not None and each.nbytes > SMALL_BYTES and not each.dtype.is_string()]
    heads = {(each.dtype, tuple(each.shape.numpy()), each.numpy().flat[:HEAD_ELEMENTS].tobytes()) for each in large}
    return len(heads) < len(large)


def _lay_out(model: "ir.Model") -> None:
    """A folded Transpose leaves a view, which the pass cannot hash."""
    import onnx_ir as ir

    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        if tensor is not None and not tensor.dtype.is_string() and not tensor.numpy().flags.c_contiguous:
            array = np.ascontiguousarray(tensor.numpy())
            value.const_value = ir.Tensor(array, dtype=tensor.dtype, name=name)
