"""The reference's int8 codes: each quantized tensor of a QDQ graph, as onnxruntime computes it when not optimizing."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgewright.benchmarks.quantization.metrics import Array
from edgewright.benchmarks.quantization.runners import calls, ort_session
from edgewright.data import Samples
from edgewright.runtimes.artifact import artifact_at
from edgewright.runtimes.ort import OnnxRuntime

if TYPE_CHECKING:
    import onnx

Producers = Mapping[str, "onnx.NodeProto"]
Codes = Mapping[str, Array]
"""By name of the tensor: one array for all calls, stacked on a new first axis."""


@dataclass(frozen=True)
class OneStep:
    """The graph from the int8 codes that one operator reads to those that it gives."""

    kind: str
    reads: tuple[str, ...]
    gives: str
    model: bytes


def plain(name: str) -> str:
    """The name of tensor x, of which `x_raw` are the values before and `x_quantized` those after QuantizeLinear."""
    return name.removesuffix("_raw").removesuffix("_quantized")


def reference_codes(path: Path, samples: Samples) -> Codes:
    """What each QuantizeLinear gives on the samples, call by call."""
    import onnx

    model = onnx.load(path)
    names = [node.output[0] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    given = {output.name for output in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in given)
    session = ort_session(model.SerializeToString(), optimized=False)
    answers = [session.run(names, feed) for feed in calls(OnnxRuntime().load(artifact_at(path)).contract, samples)]
    return {name: np.stack([answer[index] for answer in answers]) for index, name in enumerate(names)}


def one_step_models(path: Path, codes: Codes) -> list[OneStep]:
    """One for each QuantizeLinear whose value is computed from quantized tensors alone."""
    import onnx

    model = onnx.load(path)
    given = {info.name for info in model.graph.input}
    producers = {output: node for node in model.graph.node for output in node.output}
    found = []
    for node in model.graph.node:
        if node.op_type != "QuantizeLinear" or node.input[0] in given:
            continue
        nodes, reads = _between(node, producers)
        touched = {name for inner in nodes for name in inner.input}
        if touched & given:
            continue
        constants = [tensor for tensor in model.graph.initializer if tensor.name in touched]
        inputs, output = [_info(name, codes[name]) for name in reads], _info(node.output[0], codes[node.output[0]])
        graph = onnx.helper.make_graph(nodes, "step", inputs, [output], constants)
        step = onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
        kind = producers[node.input[0]].op_type
        found.append(OneStep(kind, reads, node.output[0], step.SerializeToString()))
    return found


def _between(last: "onnx.NodeProto", producers: Producers) -> "tuple[list[onnx.NodeProto], tuple[str, ...]]":
    """The nodes from the nearest codes to `last`, in order, and the names of those codes."""
    nodes: dict[str, onnx.NodeProto] = {}
    reads: dict[str, None] = {}

    def visit(node: "onnx.NodeProto") -> None:
        for name in node.input:
            source = producers.get(name)
            if source is not None and source.op_type == "QuantizeLinear":
                reads[name] = None
            elif source is not None and source.output[0] not in nodes:
                visit(source)
        nodes[node.output[0]] = node

    visit(last)
    return list(nodes.values()), tuple(reads)


def _info(name: str, stacked: Array) -> "onnx.ValueInfoProto":
    import onnx

    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.INT8, stacked.shape[1:])
