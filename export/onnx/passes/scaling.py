"""Normalization in front of a convolution or linear layer joins its weights: int8 then rounds once, not thrice."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgewright.export.onnx.graph import add_initializer, constant, integers, make, nodes_of, shape_of

if TYPE_CHECKING:
    import onnx_ir as ir

Floats = NDArray[np.float64]
MOST_SPREAD = 4.0  # factors further apart would leave little of the smaller weights' 7 bits


@dataclass(frozen=True)
class Affine:
    """What the layer reads by way of `nodes` (last first): `value` × `factor` + `offset`, per channel [channels]."""

    value: "ir.Value"
    factor: Floats
    offset: Floats
    nodes: "tuple[ir.Node, ...]"


def fold_scaling(model: "ir.Model", keep: Collection[str] = ()) -> int:
    """Conv(x·f + o; w, b) becomes Conv(x; w·f, b + Σw·o), with padding Conv(x + o/f; w·f, b), whose zeros stay zeros.

    Likewise Gemm. f and o have one value a channel, or one for all. Operators of the names `keep` stay.
    """
    return sum(_fold(node, keep) for node in nodes_of(model, "Conv", "Gemm"))


def _fold(layer: "ir.Node", keep: Collection[str]) -> bool:
    weight, bias = constant(layer, 1), constant(layer, 2)
    shape, held = shape_of(layer.inputs[0]), len(layer.inputs) > 2 and layer.inputs[2] is not None
    if weight is None or shape is None or len(shape) < 2 or (held and bias is None) or layer.graph is None:
        return False
    if layer.op_type == "Gemm" and not layer.attributes.get_int("transB", 0):
        return False
    found = _above(layer.inputs[0], shape[1])
    if found is None or not found.factor.all() or any(node.name in keep for node in found.nodes):
        return False
    sizes = np.abs(found.factor)
    padded = _is_padded(layer)
    rest = found.offset / found.factor if padded else np.zeros_like(found.offset)
    if sizes.max() > MOST_SPREAD * sizes.min() or (padded and found.factor.min() == found.factor.max() == 1):
        return False
    groups = layer.attributes.get_int("group", 1)
    factor, offset = (_by_group(array, groups, weight) for array in (found.factor, found.offset))
    graph, name = layer.graph, str(layer.inputs[1].name)  # type: ignore[union-attr]
    layer.replace_input_with(1, add_initializer(graph, f"{name}_scaled", (weight * factor).astype(np.float32)))
    if not padded and found.offset.any():
        moved = (weight.astype(np.float64) * offset).reshape(len(weight), -1).sum(1) + (0 if bias is None else bias)
        layer.resize_inputs(3)
        layer.replace_input_with(2, add_initializer(graph, f"{name}_offset", moved.astype(np.float32)))
    layer.replace_input_with(0, found.value)
    for node in found.nodes:
        graph.remove(node, safe=True)
    if rest.any():
        _shift(layer, rest, len(shape))
    return True


def _above(value: "ir.Value | None", channels: int) -> Affine | None:
    """The chain of Mul, Div, Add, Sub with constants that ends in `value`, which nothing else reads."""
    factor, offset, nodes = np.ones(channels), np.zeros(channels), list["ir.Node"]()
    while value is not None:
        node = value.producer()
        step = None if node is None else _step(node, channels, len(shape_of(value) or ()))
        if node is None or step is None or len(value.uses()) != 1 or value.is_graph_output():
            break
        source, (times, plus) = step
        offset, factor, value = offset + factor * plus, factor * times, source
        nodes.append(node)
    return Affine(value, factor, offset, tuple(nodes)) if nodes and value is not None else None


def _step(node: "ir.Node", channels: int, rank: int) -> "tuple[ir.Value, tuple[Floats, Floats]] | None":
    """Of one operator: what it reads, and the factor and offset that it applies."""
    if node.op_type not in ("Mul", "Div", "Add", "Sub"):
        return None
    index = 1 if constant(node, 1) is not None else 0
    held, source = constant(node, index), node.inputs[1 - index]
    if (
        held is None
        or source is None
        or source.const_value is not None
        or (index == 0 and node.op_type in ("Div", "Sub"))
    ):
        return None
    if shape_of(source) != shape_of(node.outputs[0]):
        return None
    operand = _per_channel(held, channels, rank)
    if operand is None or (node.op_type == "Div" and not operand.all()):
        return None
    one, zero = np.ones(channels), np.zeros(channels)
    applied = {"Mul": (operand, zero), "Add": (one, operand), "Sub": (one, -operand)}
    return source, applied[node.op_type] if node.op_type != "Div" else (1 / operand, zero)


def _per_channel(array: NDArray[Any], channels: int, rank: int) -> Floats | None:
    """A constant that differs at most along axis 1, as [channels]."""
    full = array.astype(np.float64).reshape((1,) * (rank - array.ndim) + array.shape)
    if full.size not in (1, channels) or (full.size == channels > 1 and full.shape[1] != channels):
        return None
    return np.broadcast_to(full.reshape(-1), (channels,)).copy()


def _is_padded(layer: "ir.Node") -> bool:
    same = layer.attributes.get_string("auto_pad", "NOTSET") in ("SAME_UPPER", "SAME_LOWER")
    return layer.op_type == "Conv" and (same or any(integers(layer, "pads", ())))


def _by_group(values: Floats, groups: int, weight: NDArray[Any]) -> Floats:
    """[channels] → to multiply a weight [outputs, inputs of a group, ...]: each output sees its group's channels."""
    by_output = np.repeat(values.reshape(groups, -1), len(weight) // groups, axis=0)
    return by_output.reshape(*by_output.shape, *(1,) * (weight.ndim - 2))


def _shift(layer: "ir.Node", offset: Floats, rank: int) -> None:
    """Add the offset in front of the layer: a scalar where it is the same for all channels."""
    x, graph = layer.inputs[0], layer.graph
    assert x is not None
    assert graph is not None
    same = offset.min() == offset.max()
    held = np.array(offset[0]) if same else offset.reshape(1, -1, *(1,) * (rank - 2))
    node = make("Add", [x, add_initializer(graph, f"{x.name}_offset", held.astype(np.float32))])
    shifted = node.outputs[0]
    shifted.name, shifted.type, shifted.shape = f"{x.name}_shifted", x.type, x.shape
    node.name = f"{x.name}_shift"
    graph.insert_before(layer, node)
    layer.replace_input_with(0, shifted)
