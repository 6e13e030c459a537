"""The int8 truth of an ONNX file: Q/DQ pairs become the quantization of tensors, int8 operators lose their wrapping.

    DQ → Conv → Q   ⇒   Conv on int8        float → Q, DQ → float   stay, and become QUANTIZE and DEQUANTIZE

A DequantizeLinear of a constant is never computed here: its int8 values reach the file. No scale is invented.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from edgewright.errors import Error, UnsupportedOps
from edgewright.export.lowering import attributes
from edgewright.export.onnx.quantize.raw_bytes import bytes_grid
from edgewright.export.tflite.layout import is_constant, shape_of
from edgewright.export.tflite.resampling import computes_in_int8
from edgewright.export.tflite.tensor import Quantization
from edgewright.export.tflite.window import window
from edgewright.export.tflite.wrapping import HEAVY, data_operands, dequantizer, requantize_before_activations, wrapped

if TYPE_CHECKING:
    import onnx_ir as ir

INT8_KERNELS = HEAVY | {
    *("Add", "Sub", "Mul", "Relu", "Clip", "LeakyRelu", "HardSwish", "Sigmoid", "Tanh", "Softmax"),
    *("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceMax", "Resize"),
    *("Concat", "Split", "Slice", "Gather", "Pad", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze"),
    *("DepthToSpace", "SpaceToDepth", "Identity", "ReduceMin", "Tile", "Expand", "GatherElements", "GatherND"),
}
"""ONNX operators whose TFLite kernels compute in int8 what their Q/DQ wrapping says."""

EQUAL_SCALES = frozenset({
    *("MaxPool", "AveragePool", "GlobalMaxPool", "ReduceMax", "Resize", "Concat", "Split", "Slice", "Gather", "Pad"),
    *("Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "DepthToSpace", "SpaceToDepth"),
    *("ReduceMin", "Tile", "Expand", "GatherElements", "GatherND"),
})  # fmt: skip
"""Of these, the ones whose kernels move codes and do not rescale them."""


COMPARING = ("ArgMax", "ArgMin")
"""Operators that answer alike for codes: a code grows with what it stands for."""


@dataclass(frozen=True)
class Int8:
    """What was folded: the quantization of each int8 value, and the operators that compute in int8."""

    quantization: dict["ir.Value", Quantization] = field(default_factory=dict)
    nodes: set["ir.Node"] = field(default_factory=set)

    def add(self, other: "Int8") -> None:
        """Take in what was folded in another graph."""
        self.quantization.update(other.quantization)
        self.nodes.update(other.nodes)


def fold_quantization(graph: "ir.Graph") -> Int8:
    """Rewrite `graph` in place. Raises Error when a quantized convolution or matrix product could not run in int8."""
    int8 = Int8()
    _adopt_bytes(graph, int8)
    requantize_before_activations(graph)
    violations: list[str] = []
    for node in list(graph):
        if node.graph is None:  # a QuantizeLinear that was folded into its producer
            continue
        if node.op_type == "QuantizeLinear":
            _type_codes(node)
            _annotate(int8, node.outputs[0], node)
            if is_constant(node.inputs[0]):
                _quantize_constant(graph, int8, node)
        elif node.op_type == "DequantizeLinear":
            source = node.inputs[0]
            assert source is not None
            _annotate(int8, source, node)
        elif node.op_type in COMPARING and dequantizer(node.inputs[0]) is not None:
            _compare_codes(int8, node)
        elif reason := _why_float(graph, node):
            if node.op_type in HEAVY and wrapped(node):
                violations.append(f"  {node.name} ({node.op_type}): {reason}")
            else:
                _take_stored_weight(node)
        else:
            _fold(graph, int8, node)
    _requantize_codes(graph)
    for node in list(graph):
        if node.op_type == "DequantizeLinear" and not node.outputs[0].uses() and node.outputs[0] not in graph.outputs:
            graph.remove(node, safe=True)
    if violations:
        raise Error("quantized operators that would run in float:\n" + "\n".join(violations))
    return int8


def _adopt_bytes(graph: "ir.Graph", int8: Int8) -> None:
    """uint8 → Cast (→ Add of a whole number) → Q   ⇒   Q of a uint8 tensor at scale 1: a byte is its own code."""
    import onnx_ir as ir

    for node in [node for node in graph if node.op_type in ("Cast", "Add")]:
        output, grid = node.outputs[0], bytes_grid(node.outputs[0])
        users = [use.node for use in output.uses()]
        if grid is None or not users or output.is_graph_output() or any(u.op_type != "QuantizeLinear" for u in users):
            continue
        above = None if node.inputs[0] is None else node.inputs[0].producer()
        cast = node if node.op_type == "Cast" or above is None else above
        source = cast.inputs[0]
        assert source is not None
        found = Quantization(np.ones(1, np.float32), np.array([grid.zero_point + 128], np.int64))
        if not int8.quantization.setdefault(source, found).same(found):
            continue
        ir.convenience.replace_all_uses_with(output, source)
        graph.remove(node, safe=True)
        if cast is not node and not cast.outputs[0].uses():
            graph.remove(cast, safe=True)


def _requantize_codes(graph: "ir.Graph") -> None:
    """codes → DQ → Q   ⇒   codes → Q: from one grid to another without a float between, also from and to uint8."""
    for node in graph:
        above = dequantizer(node.inputs[0]) if node.op_type == "QuantizeLinear" else None
        if above is not None and not is_constant(above.inputs[0]):
            node.replace_input_with(0, above.inputs[0])


def _quantize_constant(graph: "ir.Graph", int8: Int8, node: "ir.Node") -> None:
    """Constant → Q   ⇒   int8 constant, exactly as QuantizeLinear rounds."""
    import onnx_ir as ir

    output = node.outputs[0]
    found = int8.quantization.pop(output)
    real = _constant(node, 0)
    spread = [-1 if axis == found.axis else 1 for axis in range(real.ndim)] if found.scale.size > 1 else [1] * real.ndim
    codes = np.rint(real / found.scale.reshape(spread)) + found.zero_point.reshape(spread)
    tensor = ir.tensor(np.clip(codes, -128, 127).astype(np.int8), name=output.name)
    constant = ir.Value(
        name=output.name, shape=ir.Shape(real.shape), type=ir.TensorType(tensor.dtype), const_value=tensor
    )
    ir.convenience.replace_all_uses_with(output, constant)
    graph.remove(node, safe=True)
    graph.register_initializer(constant)
    int8.quantization[constant] = found


def _type_codes(node: "ir.Node") -> None:
    """Shape and element type of what a QuantizeLinear gives; without a zero point ONNX means uint8."""
    import onnx_ir as ir

    source, output = node.inputs[0], node.outputs[0]
    zero_point = node.inputs[2] if len(node.inputs) > 2 else None
    kind = output.dtype if zero_point is None else zero_point.dtype
    output.type = ir.TensorType(kind or ir.DataType.UINT8)
    output.shape = source.shape if source is not None else None


def _annotate(int8: Int8, value: "ir.Value", node: "ir.Node") -> None:
    """Note the quantization that a Q or DQ gives to its int8 side; all that touch one tensor must agree."""
    import onnx_ir as ir

    found = _parameters(node)
    known = int8.quantization.setdefault(value, found)
    if not known.same(found):
        raise Error(f"{value.name}: two quantizations, {known} and {found}; give each its own tensor")
    at_end = value.dtype == ir.DataType.UINT8 and (value.is_graph_input() or value.is_graph_output())
    if value.dtype not in (ir.DataType.INT8, ir.DataType.INT32) and not at_end:
        raise _unsupported(node, f"{value.dtype}; TFLite's int8 kernels take int8, and int32 for a bias")


def _parameters(node: "ir.Node") -> Quantization:
    scale = _constant(node, 1)
    zero_point = _constant(node, 2) if len(node.inputs) > 2 else np.zeros_like(scale, np.int64)
    if scale.ndim > 1:
        raise _unsupported(node, "scales per block")
    if np.any(scale <= 0):
        raise Error(f"{node.name}: its scale must be positive, got {scale.min()}")
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 1
    points = np.broadcast_to(zero_point.reshape(-1), (scale.size,)).astype(np.int64)
    return Quantization(scale.reshape(-1).astype(np.float32), points, axis if scale.size > 1 else 0)


def _constant(node: "ir.Node", index: int) -> np.ndarray:  # type: ignore[type-arg]
    value = node.inputs[index]
    if value is None or value.const_value is None:
        raise _unsupported(node, "a scale or zero point that is computed")
    return value.const_value.numpy()


def _unsupported(node: "ir.Node", reason: str) -> UnsupportedOps:
    return UnsupportedOps("tflite", {node.op_type: (reason, [node.name or node.op_type])})


def _why_float(graph: "ir.Graph", node: "ir.Node") -> str | None:
    """Why the operator does not compute in int8; None when it does."""
    if node.op_type not in INT8_KERNELS:
        return "TFLite has no int8 kernel for it"
    bare = [node.inputs[index] for index in data_operands(node) if dequantizer(node.inputs[index]) is None]
    if bare or not data_operands(node):
        return f"not dequantized: {', '.join(str(value.name) for value in bare if value is not None)}"
    for output in node.outputs:
        users = [use.node for use in output.uses()]
        if output in graph.outputs or any(user.op_type != "QuantizeLinear" for user in users):
            return f"its output {output.name} is used before it is quantized"
        if users and not all(_parameters(user).same(_parameters(users[0])) for user in users):
            return f"its output {output.name} is quantized in two ways"
    if not any(output.uses() for output in node.outputs):
        return "its output is not used"
    if node.op_type == "AveragePool" and _averages_unevenly(node):
        return "its windows hold different numbers of elements, which no int8 kernel divides by"
    if node.op_type == "Resize" and not computes_in_int8(node):
        return "no int8 kernel reads where it does"
    return _why_moved_in_float(node) if node.op_type in EQUAL_SCALES else None


def _why_moved_in_float(node: "ir.Node") -> str | None:
    """Why an operator that moves codes cannot: the codes mean different values on both sides."""
    sources = [dequantizer(node.inputs[index]) for index in data_operands(node)]
    targets = [use.node for output in node.outputs for use in output.uses()]
    grids = [_parameters(end) for end in (*sources, *targets) if end is not None]
    return None if all(grid.same(grids[0]) for grid in grids) else "its input and output have different scales"


def _averages_unevenly(node: "ir.Node") -> bool:
    given = attributes(node)
    assert node.inputs[0] is not None
    spatial = (shape_of(value)[2:] for value in (node.inputs[0], node.outputs[0]))
    size, out = ((1,) * (2 - len(lengths)) + lengths for lengths in spatial)
    strides, dilations, pads = (given.get(name) for name in ("strides", "dilations", "pads"))
    view = window(given["kernel_shape"], strides, dilations, pads, given.get("auto_pad", "NOTSET"), size, out)
    return not view.averages_evenly(bool(given.get("count_include_pad", 0)))


def _compare_codes(int8: Int8, node: "ir.Node") -> None:
    """codes → DQ → ArgMax   ⇒   codes → ArgMax."""
    source = dequantizer(node.inputs[0])
    assert source is not None
    node.replace_input_with(0, source.inputs[0])
    int8.nodes.add(node)


def _take_stored_weight(node: "ir.Node") -> None:
    """codes → DQ → W of a float Conv   ⇒   codes → W: the builder decides how its kernel reads them."""
    import onnx_ir as ir

    source = dequantizer(node.inputs[1]) if node.op_type in HEAVY else None
    codes = source.inputs[0] if source is not None else None
    if is_constant(codes) and codes is not None and codes.dtype == ir.DataType.INT8:
        node.replace_input_with(1, codes)


def _fold(graph: "ir.Graph", int8: Int8, node: "ir.Node") -> None:
    import onnx_ir as ir

    int8.nodes.add(node)
    for index in data_operands(node):
        source = dequantizer(node.inputs[index])
        assert source is not None
        node.replace_input_with(index, source.inputs[0])
    for output in node.outputs:
        for use in list(output.uses()):
            output.dtype = ir.DataType.INT8
            _annotate(int8, output, use.node)
            codes = use.node.outputs[0]
            if codes.is_graph_output():
                output.name, codes.name = codes.name, output.name
            ir.convenience.replace_all_uses_with(codes, output, replace_graph_outputs=True)
            graph.remove(use.node, safe=True)
