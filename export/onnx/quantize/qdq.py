"""Write a plan into the graph as QuantizeLinear/DequantizeLinear pairs and int8 constants."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgewright.export.onnx.graph import add_initializer, constant, drop_identities, make, shape_of
from edgewright.export.onnx.quantize.grid import HIGH, LOW, Grid, activation_grid, channel_scales, encode_weight
from edgewright.export.onnx.quantize.plan import Plan, clip_bounds, data_inputs, weight_axis
from edgewright.export.onnx.quantize.ties import clear_of_ties, weight_scales_clear_of_ties

if TYPE_CHECKING:
    import onnx_ir as ir

Ranges = Mapping[str, tuple[float, float]]
Masters = Mapping[str, NDArray[Any]]
"""The float weight or bias behind each initializer of integer codes that `insert_qdq` wrote for one, by its name."""
FEW_VALUES = 4096
PARTS_OF_STEP = 64
"""XNNPACK crashes at 1/256 of what a product of codes is worth (7-bit weights double it), HardSwish refuses 1/128."""
MARGINS = {"GlobalAveragePool": 1.25, "Gemm": 1.1}
"""Measured on unseen samples of the example networks: up to 1.9 dB for the pool, 1.1 dB for the last layer."""


def observed_tensors(plan: Plan) -> list[str]:
    """Names of the tensors whose ranges `insert_qdq` needs."""
    free = [v for v, leader in plan.groups.items() if leader not in plan.fixed and v not in plan.unseen]
    return sorted(str(value.name) for value in free if value.const_value is None)


def insert_qdq(model: "ir.Model", plan: Plan, ranges: Ranges) -> Masters:
    """Make the float model its int8 truth, in place; gives the float values that weights and biases were rounded from.

    tensor → QuantizeLinear → DequantizeLinear → readers; the dequantized tensor keeps the name, the raw one is `…_raw`.
    A graph input and what a float operator makes keep their own names, their dequantized form is `…_dequantized`, and
    float operators read the latter as it is. Weights and biases become integer initializers → DequantizeLinear. An
    activation that its producer's grid implies is dropped.
    """
    grids = _grids(model.graph, plan, ranges)
    direct = {act: producer for act, value in plan.clamped.items() if (producer := value.producer()) in plan.int8}
    for activation, producer in (plan.fused | direct).items():
        if _implied(activation, grids[activation.outputs[0]]):
            _drop(activation, producer, grids)
    masters: dict[ir.Value, NDArray[Any]] = {}
    for node in [node for node in model.graph if node in plan.int8]:
        masters |= _quantize_weight(node, grids)
    for value, grid in grids.items():
        if value.const_value is None:
            _insert_pair(model.graph, value, grid, plan)
        else:
            _quantize_constant(value, grid, plan)
    _finish(model)
    return {str(codes.name): array for codes, array in masters.items()}


def _grids(graph: "ir.Graph", plan: Plan, ranges: Ranges) -> "dict[ir.Value, Grid]":
    """One grid a group: fixed by a kernel, or over the union of its members' ranges."""
    spans: dict[ir.Value, tuple[float, float]] = {}
    for value, leader in plan.groups.items():
        if leader in plan.fixed or value in plan.unseen:
            continue
        if value.const_value is not None:
            array = value.const_value.numpy()
            low, high = float(array.min()), float(array.max())
        else:
            low, high = (_margin(value) * end for end in ranges[str(value.name)])
        before = spans.get(leader, (low, high))
        spans[leader] = (min(low, before[0]), max(high, before[1]))
    by_leader = plan.fixed | {leader: activation_grid(*span) for leader, span in spans.items()}
    for value, leader in plan.groups.items():  # in the graph's order
        least = _least_scale(value, plan, by_leader)
        if leader in spans and by_leader[leader].scale < least:
            by_leader[leader] = Grid(float(np.float32(least)), by_leader[leader].zero_point)
    order = {node: index for index, node in enumerate(graph)}
    by_leader = clear_of_ties(plan, by_leader, order)
    return {value: by_leader[leader] for value, leader in plan.groups.items()}


def _least_scale(value: "ir.Value", plan: Plan, grids: "Mapping[ir.Value, Grid]") -> float:
    """A finer grid would tell no more, since the operator's inputs have steps; kernels refuse much finer ones."""
    node = value.producer()
    node = plan.fused.get(node, node) if node is not None else None
    inputs = [] if node is None or node not in plan.int8 else data_inputs(node)
    steps = [grids[plan.groups[x]].scale for x in inputs if x in plan.groups]
    if node is None or not steps:
        return 0.0
    if node.op_type == "GlobalAveragePool":
        return float(steps[0] / np.prod((shape_of(inputs[0]) or ())[2:]))
    axis, weight = weight_axis(node), constant(node, 1)
    if axis is not None and weight is not None:
        steps.append(float(channel_scales(weight, axis, constant(node, 2), steps[0]).max()))
    step = np.prod(steps) if axis is not None or node.op_type in ("Mul", "MatMul") else max(steps)
    return float(step / PARTS_OF_STEP)


def _margin(value: "ir.Value") -> float:
    """By how much unseen values will pass the extremes of a tensor of which each sample shows few values."""
    node, shape = value.producer(), shape_of(value)
    few = shape is not None and np.prod(shape) <= FEW_VALUES
    return MARGINS.get(node.op_type, 1.0) if node is not None and few else 1.0


def _implied(activation: "ir.Node", grid: Grid) -> bool:
    """Whether saturating to the grid already clamps as the activation does."""
    low, high = clip_bounds(activation)
    return bool(grid.encode(low) == LOW and grid.encode(high) == HIGH)


def _drop(activation: "ir.Node", producer: "ir.Node", grids: "dict[ir.Value, Grid]") -> None:
    """Let the producer give the activation's tensor."""
    import onnx_ir as ir

    old, new = activation.outputs[0], producer.outputs[0]
    graph = activation.graph
    assert graph is not None
    new.name, old.name = old.name, f"{old.name}_clamped"
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
    graph.remove(activation, safe=True)
    grids[new] = grids.pop(old)


def _insert_pair(graph: "ir.Graph", value: "ir.Value", grid: Grid, plan: Plan) -> None:
    import onnx_ir as ir

    name, producer, readers = str(value.name), value.producer(), list(value.uses())
    in_float = producer is not None and producer not in plan.int8
    if in_float:
        readers = [use for use in readers if use.node in plan.int8]
    outputs = [index for index, output in enumerate(graph.outputs) if output is value]
    scale = add_initializer(graph, f"{name}_scale", np.array(grid.scale, np.float32))
    zero = add_initializer(graph, f"{name}_zero_point", np.array(grid.zero_point, np.int8))
    quantize = make("QuantizeLinear", [value, scale, zero], name=f"{name}_quantize")
    dequantize = make("DequantizeLinear", [quantize.outputs[0], scale, zero], name=f"{name}_dequantize")
    codes, real = quantize.outputs[0], dequantize.outputs[0]
    codes.name, codes.dtype, codes.shape = f"{name}_quantized", ir.DataType.INT8, value.shape
    real.dtype, real.shape = ir.DataType.FLOAT, value.shape
    if producer is None:
        graph.insert_before(graph[0], [quantize, dequantize])
    else:
        graph.insert_after(producer, [quantize, dequantize])
    if producer is None or in_float:
        real.name = f"{name}_dequantized"
    else:
        value.name, real.name = f"{name}_raw", name
    for reader, index in readers:
        reader.replace_input_with(index, real)
    for index in outputs if producer is not None and not in_float else ():  # the others pass as they are
        graph.outputs[index] = real


def _quantize_weight(node: "ir.Node", grids: "dict[ir.Value, Grid]") -> "dict[ir.Value, NDArray[Any]]":
    axis, graph = weight_axis(node), node.graph
    if axis is None:
        return {}
    weight, bias, x = constant(node, 1), constant(node, 2), node.inputs[0]
    assert weight is not None
    assert graph is not None
    assert x is not None
    scales = channel_scales(weight, axis, bias, grids[x].scale)
    if (out := _output_grid(node, grids)) is not None:
        scales = weight_scales_clear_of_ties(scales, grids[x].scale, out.scale)
    name = str(node.inputs[1].name)  # type: ignore[union-attr]
    codes = add_initializer(graph, f"{name}_int8", encode_weight(weight, axis, scales))
    scale = add_initializer(graph, f"{name}_scale", scales)
    zero = add_initializer(graph, f"{name}_zero_point", np.zeros(len(scales), np.int8))
    _replace_by_dequantized(node, 1, [codes, scale, zero], axis)
    masters = {codes: weight}
    if bias is not None:
        # ConvTranspose with groups: its weight repeats the scales for each group.
        product = np.resize(np.float32(grids[x].scale) * scales, len(bias))
        name = str(node.inputs[2].name)  # type: ignore[union-attr]
        integers = np.rint(bias.astype(np.float64) / product.astype(np.float64)).astype(np.int32)
        codes = add_initializer(graph, f"{name}_int32", integers)
        scale = add_initializer(graph, f"{name}_scale", product)
        _replace_by_dequantized(node, 2, [codes, scale], 0)
        masters[codes] = bias
    return masters


def _output_grid(node: "ir.Node", grids: "dict[ir.Value, Grid]") -> Grid | None:
    """Of the codes that the node's kernel gives, behind an activation that it fuses. None where it gives floats."""
    out = node.outputs[0]
    readers = out.consumers()
    return grids.get(out) or (grids.get(readers[0].outputs[0]) if len(readers) == 1 else None)


def _replace_by_dequantized(node: "ir.Node", index: int, inputs: "list[ir.Value]", axis: int | None) -> None:
    """Feed an input of `node` from DequantizeLinear(inputs)."""
    import onnx_ir as ir

    old = node.inputs[index]
    assert old is not None
    assert node.graph is not None
    attributes = {} if axis is None else {"axis": axis}
    dequantize = make("DequantizeLinear", inputs, attributes, name=f"{node.name}_{old.name}_dequantize")
    real = dequantize.outputs[0]
    real.name, real.shape = f"{node.name}_{old.name}_dequantized", old.shape
    real.dtype = ir.DataType.FLOAT
    node.graph.insert_before(node, dequantize)
    node.replace_input_with(index, real)


def _quantize_constant(value: "ir.Value", grid: Grid, plan: Plan) -> None:
    """A constant operand of an int8 operator, on the grid of its group (or its own); float readers keep the float."""
    assert value.const_value is not None
    array = value.const_value.numpy()
    for reader, index in list(value.uses()):
        if reader in plan.int8 and value in data_inputs(reader) and reader.graph is not None:
            codes = add_initializer(reader.graph, f"{value.name}_int8", grid.encode(array))
            scale = add_initializer(reader.graph, f"{value.name}_scale", np.array(grid.scale, np.float32))
            zero = add_initializer(reader.graph, f"{value.name}_zero_point", np.array(grid.zero_point, np.int8))
            _replace_by_dequantized(reader, index, [codes, scale, zero], None)


def _finish(model: "ir.Model") -> None:
    """Constants stay unshared: onnxruntime rewrites zero points by name and fails on one with two readers."""
    from edgewright.export.onnx.passes.dead_code import remove_dead_code
    from edgewright.export.onnx.passes.names import tidy_names

    drop_identities(model)
    remove_dead_code(model)
    tidy_names(model)
