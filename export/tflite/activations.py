"""Activations that become the `fused_activation_function` of the operator before them."""

from typing import TYPE_CHECKING

from edgewright.export.tflite.layout import is_constant

if TYPE_CHECKING:
    import onnx_ir as ir

FUSING = frozenset({"Conv", "Gemm", "Add", "Sub", "Mul", "Div", "MaxPool", "AveragePool"})
"""Operators whose kernels have a fused activation in float32 and int8."""

KERNEL_OF_RANGE = {
    (0.0, float("inf")): "RELU",
    (0.0, 6.0): "RELU6",
    (-1.0, 1.0): "RELU_N1_TO_1",
}


def fuse_activations(graph: "ir.Graph") -> dict["ir.Node", str]:
    """Conv → Relu ⇒ Conv (RELU), also for Clip to 0…6 and −1…1; the operator takes over the activation's name."""
    import onnx_ir as ir

    fused: dict[ir.Node, str] = {}
    for node in list(graph):
        activation = activation_of(node)
        source = node.inputs[0] if activation is not None else None
        producer = source.producer() if source is not None else None
        if activation is None or source is None or producer is None or producer in fused:
            continue
        if (
            producer.op_type not in FUSING
            or len(source.uses()) != 1
            or source in graph.outputs
            or not _is_float(source)
        ):
            continue
        result = node.outputs[0]
        name = result.name
        ir.convenience.replace_all_uses_with(result, source, replace_graph_outputs=True)
        graph.remove(node, safe=True)
        source.name = name
        fused[producer] = activation
    return fused


def activation_of(node: "ir.Node") -> str | None:
    """The activation kernel that equals this node, if there is one."""
    if node.op_type == "Relu":
        return "RELU"
    if node.op_type != "Clip" or not all(value is None or is_constant(value) for value in node.inputs[1:]):
        return None
    bounds = [float("-inf"), float("inf")]
    for index, value in enumerate(node.inputs[1:]):
        if value is not None and value.const_value is not None:
            bounds[index] = float(value.const_value.numpy())
    return KERNEL_OF_RANGE.get((bounds[0], bounds[1]))


def _is_float(value: "ir.Value") -> bool:
    return value.dtype is not None and value.dtype.name == "FLOAT"
