"""Trained weights, back on their grids."""

from typing import TYPE_CHECKING

from edgewright.export.onnx.quantize.quantized import Quantized

if TYPE_CHECKING:
    from edgewright.export.onnx.differentiable.graph import TorchGraph


def write_back(graph: "TorchGraph", quantized: Quantized) -> Quantized:
    """A copy whose integer weights and biases are what `graph` runs with; scales and all else are as before.

    The plan and the masters stay those of `quantized`.
    """
    import onnx_ir as ir

    model = quantized.model.clone()
    for name, weight in graph.weights.items():
        value = model.graph.initializers[name]
        assert value.const_value is not None
        codes = weight.codes().detach().numpy().astype(value.const_value.numpy().dtype)
        value.const_value = ir.tensor(codes, name=name)
    return Quantized(model, quantized.plan, quantized.masters)
