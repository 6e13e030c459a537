"""What runs in int8: which operators, which tensors share a grid, and why the others stay in float."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from edgewright.export.onnx.counted import followers
from edgewright.export.onnx.graph import constant, nodes_of
from edgewright.export.onnx.passes.scaling import fold_scaling
from edgewright.export.onnx.passes.splits import slice_splits
from edgewright.export.onnx.quantize.grid import SIGNED_UNIT, UNIT, Grid
from edgewright.export.onnx.quantize.raw_bytes import bytes_grid

if TYPE_CHECKING:
    import onnx_ir as ir

WEIGHTED = ("Conv", "ConvTranspose", "Gemm")
BINARY = ("Add", "Sub", "Mul", "MatMul")
UNARY = ("Relu", "Clip", "LeakyRelu", "HardSwish", "Sigmoid", "Softmax", "Tanh", "Identity", "GlobalAveragePool")
CARRYING = (  # the output keeps the grid of the first input
    *("MaxPool", "GlobalMaxPool", "ReduceMax", "ReduceMin", "AveragePool", "Resize"),
    *("Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Pad", "Slice", "Gather"),
    *("DepthToSpace", "SpaceToDepth", "Tile", "Expand", "GatherElements", "GatherND"),
)
ROUNDING = ("AveragePool", "Resize")  # of CARRYING: these compute new values
INT8_OPS = (*WEIGHTED, *BINARY, *UNARY, *CARRYING, "Concat")
LIGHT = ("Add", "Sub", "Mul")  # no MACs: where only float operators read them, rounding first would gain nothing
RECURRENT = ("LSTM", "GRU", "RNN")
FIXED = {"Sigmoid": UNIT, "Softmax": UNIT, "Tanh": SIGNED_UNIT}  # demanded by int8 kernels
FUSING = (*WEIGHTED, "MatMul", "Add", "Sub", "Mul")  # their kernels clamp while they requantize
FUSED_BOUNDS = ((0.0, 6.0), (-1.0, 1.0), (0.0, 1.0))


@dataclass(frozen=True)
class Plan:
    """`groups` maps every int8 tensor to the tensor that stands for its group; `fused` an activation to its producer.

    `clamped` maps other clamping activations to the tensor that they alone read: it takes their output's grid. `unseen`
    are tensors whose own range does not matter: such ones, and those that MaxPool alone reads. What is dropped behind
    them may saturate.
    """

    int8: frozenset["ir.Node"]
    reasons: "dict[ir.Node, str]"
    groups: "dict[ir.Value, ir.Value]"
    fixed: "dict[ir.Value, Grid]"
    fused: "dict[ir.Node, ir.Node]"
    clamped: "dict[ir.Node, ir.Value]"
    unseen: frozenset["ir.Value"]

    @property
    def int8_share(self) -> float:
        """Of the operators on float tensors, how many run in int8 (0…1)."""
        return len(self.int8) / max(1, len(self.int8) + len(self.reasons))

    def float_ops(self) -> list[dict[str, str]]:
        """The operators that stay in float, in order: op, node, why."""
        return [{"op": node.op_type, "node": node.name or "", "why": why} for node, why in self.reasons.items()]


FEW_ROWS = "it works on few rows, which are counted when the model runs"


def plan_int8(model: "ir.Model", keep_float: Mapping[str, str] = MappingProxyType({})) -> Plan:
    """Decide for every operator on float tensors. A Concat input on a fixed grid gets an Identity to leave it by.

    `keep_float` names nodes that stay in float although int8 could run them, and says why.
    """
    slice_splits(model)
    fold_scaling(model, keep_float)
    candidates = [node for node in nodes_of(model) if _is_float(node)]
    keep_float = dict.fromkeys((str(node.name) for node in followers(model.graph)), FEW_ROWS) | dict(keep_float)
    reasons = {node: why for node in candidates if (why := keep_float.get(str(node.name)) or _obstacle(node))}
    _free_concat_inputs(model, reasons)
    int8 = [node for node in nodes_of(model) if _is_float(node) and node not in reasons]
    reasons |= dict.fromkeys(_read_in_float(int8), "only float operators read it")
    int8 = [node for node in int8 if node not in reasons]
    lonely = _lonely(int8)
    reasons |= dict.fromkeys(lonely, "no int8 neighbour")
    int8 = [node for node in int8 if node not in lonely]
    quantized = frozenset(int8)
    pairs = ((act, _fusing_producer(act)) for act in int8)
    fused = {act: producer for act, producer in pairs if producer is not None and producer in quantized}
    inner = {producer.outputs[0] for producer in fused.values()}
    clamped = {act: value for act in int8 if act not in fused and (value := _clamped(act, reasons)) is not None}
    tensors = [value for node in int8 for value in (*data_inputs(node), node.outputs[0]) if value not in inner]
    groups = _groups(tensors, int8, clamped)
    fixed = {groups[value]: grid for value in tensors if (grid := _fixed_grid(value, reasons)) is not None}
    unseen = frozenset(value for value in groups if value in clamped.values() or _only_pooled(value, quantized))
    order = {node: index for index, node in enumerate(model.graph)}
    reasons = dict(sorted(reasons.items(), key=lambda item: order[item[0]]))
    return Plan(quantized, reasons, groups, fixed, fused, clamped, unseen)


def data_inputs(node: "ir.Node") -> list["ir.Value"]:
    """The inputs that are activations (or constants in their place), not weights, bounds or shapes."""
    if node.op_type == "Concat":
        return [value for value in node.inputs if value is not None]
    if node.op_type == "MatMul" and constant(node, 1) is not None:
        return [value for value in node.inputs[:1] if value is not None]
    return [value for value in node.inputs[: 2 if node.op_type in BINARY else 1] if value is not None]


def weight_axis(node: "ir.Node") -> int | None:
    """The output-channel axis of the constant weight; None for operators without one."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "Gemm":
        return 0 if node.attributes.get_int("transB", 0) else 1
    by_constant = node.op_type == "MatMul" and constant(node, 1) is not None
    return 1 if by_constant or node.op_type == "ConvTranspose" else None


def clip_bounds(node: "ir.Node") -> tuple[float, float]:
    """Of a Relu or a Clip with constant bounds."""
    low, high = (None, None) if node.op_type == "Relu" else (constant(node, 1), constant(node, 2))
    floor = 0.0 if node.op_type == "Relu" else -np.inf
    return floor if low is None else float(low.item()), np.inf if high is None else float(high.item())


def _is_float(node: "ir.Node") -> bool:
    import onnx_ir as ir

    values = [value for value in (*node.inputs[:1], *node.outputs[:1]) if value is not None]
    return any(value.dtype == ir.DataType.FLOAT for value in values)


def _obstacle(node: "ir.Node") -> str | None:
    """Why this operator cannot run in int8."""
    if bytes_grid(node.outputs[0]) is not None:
        return "none of its own: quantizing what it gives moves the codes of its input"
    if node.op_type in RECURRENT:
        return "recurrent: its state stays float, an error of it would return at every step"
    if node.op_type not in INT8_OPS:
        return "no int8 form"
    if any(output.uses() or output.is_graph_output() for output in node.outputs[1:]):
        return "its second output is used"
    axis = weight_axis(node)
    if node.op_type in WEIGHTED and constant(node, 1) is None:
        return "its weight is computed"
    if node.op_type == "MatMul" and axis is not None and constant(node, 1).ndim != 2:  # type: ignore[union-attr]
        return "its constant is no matrix"
    if node.op_type in WEIGHTED and len(node.inputs) > 2 and node.inputs[2] is not None:
        bias = constant(node, 2)
        if bias is None or bias.ndim != 1:
            return "its bias is computed or no row"
    return _odd_attribute(node)


def _odd_attribute(node: "ir.Node") -> str | None:
    factors = {node.attributes.get_float(name, 1.0) for name in ("alpha", "beta")}
    if node.op_type == "Gemm" and (factors != {1.0} or node.attributes.get_int("transA", 0) != 0):
        return "it scales its product or transposes its input"
    bounds = [index for index, value in enumerate(node.inputs) if index and value is not None]
    if node.op_type == "Clip" and any(constant(node, index) is None for index in bounds):
        return "its bounds are computed"
    if node.op_type == "Resize" and node.attributes.get_string("mode", "nearest") not in ("nearest", "linear"):
        return "no int8 form of this interpolation"
    if node.op_type == "Pad" and len(node.inputs) > 2 and node.inputs[2] is not None:
        value = constant(node, 2)
        if value is None or value.item() != 0:
            return "it pads with another value than zero"
    return None


def _read_in_float(int8: "list[ir.Node]") -> "set[ir.Node]":
    """The sums before a float LayerNormalization or Gelu, back along a residual stream."""
    quantized = set(int8)
    inside: set[ir.Node] = set()
    for node in reversed(int8):  # readers first
        readers = set(node.outputs[0].consumers())
        if node.op_type in LIGHT and readers and not node.outputs[0].is_graph_output() and not readers & quantized:
            quantized.remove(node)
            inside.add(node)
    return inside


def _lonely(int8: "list[ir.Node]") -> "set[ir.Node]":
    """Operators that only carry values, between float operators: int8 would cost accuracy and gain nothing."""
    alive = {node for node in int8 if node.op_type not in (*CARRYING, "Concat")}
    carriers = [node for node in int8 if node not in alive]
    grown = True
    while grown:
        near = [node for node in carriers if node not in alive and any(other in alive for other in _neighbours(node))]
        alive.update(near)
        grown = bool(near)
    return set(carriers) - alive


def _neighbours(node: "ir.Node") -> "Iterator[ir.Node]":
    """Who gives or takes the values of a carrier; where it only moves them, also who else reads its input's int8."""
    for value in data_inputs(node):
        producer = value.producer()
        if producer is not None:
            yield producer
        if node.op_type in CARRYING and node.op_type not in ROUNDING:
            yield from (reader for reader in value.consumers() if value in data_inputs(reader))
    yield from node.outputs[0].consumers()


def _fusing_producer(act: "ir.Node") -> "ir.Node | None":
    """The operator before an activation, when its kernel can clamp for it."""
    if act.op_type not in ("Relu", "Clip"):
        return None
    value = act.inputs[0]
    producer = None if value is None else value.producer()
    if value is None or producer is None or len(value.uses()) != 1 or value.is_graph_output():
        return None
    plain = act.op_type == "Relu" or clip_bounds(act) in FUSED_BOUNDS
    return producer if producer.op_type in FUSING and plain else None


def _clamped(act: "ir.Node", floats: "Collection[ir.Node]") -> "ir.Value | None":
    """What a clamping activation alone reads, on a grid that no one else has a say in: it may saturate early."""
    value = act.inputs[0]
    if act.op_type not in ("Relu", "Clip") or value is None or len(value.uses()) != 1 or value.is_graph_output():
        return None
    producer = value.producer()
    carried = producer is not None and producer.op_type in (*CARRYING, "Concat")
    return None if carried or value.const_value is not None or _fixed_grid(value, floats) is not None else value


def _groups(
    tensors: "Iterable[ir.Value]", int8: "list[ir.Node]", clamped: "Mapping[ir.Node, ir.Value]"
) -> "dict[ir.Value, ir.Value]":
    """Every tensor → the first of its group (union-find with the ties of the operators)."""
    parent = {value: value for value in tensors}

    def find(value: "ir.Value") -> "ir.Value":
        while parent[value] is not value:
            value = parent[value]
        return value

    for node in int8:
        if node.op_type in CARRYING or node.op_type == "Concat":
            for value in data_inputs(node):
                parent[find(node.outputs[0])] = find(value)
    for act, value in clamped.items():
        parent[find(value)] = find(act.outputs[0])
    return {value: find(value) for value in parent}


def _fixed_grid(value: "ir.Value", floats: "Collection[ir.Node]") -> Grid | None:
    """The grid that the kernel of the producer dictates, also through operators that carry it on."""
    node = value.producer()
    if grid := bytes_grid(value):
        return grid
    if node is None or node in floats:
        return None
    if node.op_type in CARRYING and node.inputs[0] is not None:
        return _fixed_grid(node.inputs[0], floats)
    if node.op_type == "Concat":
        grids = {_fixed_grid(v, floats) for v in data_inputs(node)}
        return grids.pop() if len(grids) == 1 else None
    return FIXED.get(node.op_type)


def _free_concat_inputs(model: "ir.Model", floats: "Collection[ir.Node]") -> None:
    """Concat(Sigmoid(x), y) → Concat(Identity(Sigmoid(x)), y): the Identity becomes a requantization."""
    import onnx_ir as ir

    for node in nodes_of(model, "Concat"):
        if node in floats or _fixed_grid(node.outputs[0], floats) is not None:
            continue
        for index, value in enumerate(node.inputs):
            if value is not None and _fixed_grid(value, floats) is not None:
                name = f"{value.name}_to_{node.outputs[0].name}_{index}"
                out = ir.val(name, value.dtype, value.shape)
                copy = ir.node("Identity", [value], outputs=[out], name=name)
                model.graph.insert_before(node, copy)
                node.replace_input_with(index, out)


def _only_pooled(value: "ir.Value", quantized: "frozenset[ir.Node]") -> bool:
    pools = [node.op_type == "MaxPool" and node in quantized for node in value.consumers()]
    return bool(pools) and all(pools) and not value.is_graph_output()
