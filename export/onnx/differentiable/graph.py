"""An ONNX graph run by torch, node by node, whose int8 weights and biases can be trained."""

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgewright.data import Samples
from edgewright.export.lowering import attributes
from edgewright.export.onnx.differentiable.encoded import Encoded, encoded
from edgewright.export.onnx.differentiable.rules import TORCH, Call
from edgewright.export.onnx.graph import shape_of
from edgewright.export.onnx.quantize.calibrate import batches
from edgewright.runtimes.contract import Contract

if TYPE_CHECKING:
    import onnx_ir as ir
    from torch import Tensor

Masters = Mapping[str, NDArray[Any]]
Tensors = Mapping[str, "Tensor"]


class TorchGraph:
    """What a float or QDQ graph of the internal opset computes, to be differentiated.

    QuantizeLinear rounds half to even and saturates as onnxruntime does, with a straight-through gradient. `weights`
    holds, by name, each integer initializer that has a float master: `shift` of it is what an optimizer trains.
    All else is constant. Raises one UnsupportedOps that lists every operator without a rule.
    """

    def __init__(self, model: "ir.Model", masters: Masters) -> None:
        TORCH.check_coverage(model.graph)
        self._nodes = [(node, _call(node), attributes(node)) for node in model.graph]
        self.weights: Mapping[str, Encoded] = {
            name: encoded(model.graph.initializers[name], array) for name, array in masters.items()
        }
        self._constants = {name: tensor for name, tensor in _constants(model) if name not in self.weights}
        self.outputs = [str(output.name) for output in model.graph.outputs]

    def run(self, calls: Tensors, names: Collection[str] = ()) -> "dict[str, Tensor]":
        """Tensors by name (all outputs where no names are given) [calls, *shape], of inputs [calls, *shape].

        A graph has the static shapes it was traced with, so calls are not joined but mapped over: each one's values
        are what the graph gives for it alone.
        """
        import torch

        wanted = tuple(names or self.outputs)

        def once(inputs: Tensors) -> "tuple[Tensor, ...]":
            values = self.walk(inputs)
            return tuple(values[name] for name in wanted)

        return dict(zip(wanted, torch.vmap(once)(dict(calls)), strict=True))

    def walk(self, inputs: Tensors) -> "dict[str, Tensor]":
        """Every tensor by name for one call, of inputs as the graph declares them."""
        rules = TORCH.rules()
        values = {**self._constants, **inputs}
        values.update({name: weight.codes().float() for name, weight in self.weights.items()})
        for node, call, settings in self._nodes:
            given = [None if value is None else values[str(value.name)] for value in node.inputs]
            made = rules[node.op_type].function(call, *given, **settings)
            results = made if isinstance(made, tuple) else (made,)
            values.update({str(output.name): result for output, result in zip(node.outputs, results)})
        return values


def stacked(contract: Contract, samples: Samples) -> "dict[str, Tensor]":
    """Samples as `TorchGraph.run` takes them: calls of the model's batch, joined along a new first axis."""
    import torch

    calls = list(batches(contract, samples))
    return {name: torch.from_numpy(np.stack([call[name] for call in calls])) for name in calls[0]}


def _call(node: "ir.Node") -> Call:
    used = [index for index, output in enumerate(node.outputs) if output.uses() or output.is_graph_output()]
    name = node.name or node.op_type
    return Call(node.op_type, name, tuple(shape_of(output) for output in node.outputs), max(used, default=0) + 1)


def _constants(model: "ir.Model") -> "Iterable[tuple[str, Tensor]]":
    """Initializers, by name."""
    import torch

    for name, value in model.graph.initializers.items():
        if value.const_value is not None:
            yield name, torch.from_numpy(np.array(value.const_value.numpy()))
