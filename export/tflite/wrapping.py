"""Operators between DequantizeLinear and QuantizeLinear: which operands count, and where the pair may move."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir

HEAVY = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})

REQUANTIZED = HEAVY | {"Add", "Sub", "Mul"}
"""Operators that ONNX may leave unquantized before an activation, whose kernels rescale at the end."""

FIRST_ONLY = frozenset({"Clip", "Pad", "Resize"})
"""Operators whose float inputs after the first are parameters, not data."""


def requantize_before_activations(graph: "ir.Graph") -> None:
    """ConvTranspose → Relu → Q   ⇒   ConvTranspose → Q → DQ → Relu → Q on the same grid.

    Rounding and saturating are monotone, and the codes of the bounds are on the grid: no value changes.
    """
    import onnx_ir as ir

    for act in [node for node in graph if node.op_type in ("Relu", "Clip")]:
        value, users = act.inputs[0], [use.node for use in act.outputs[0].uses()]
        above = None if value is None else value.producer()
        if above is None or value is None or value in graph.outputs or above.op_type not in REQUANTIZED:
            continue
        if not (len(value.uses()) == 1 and wrapped(above) and users and act.outputs[0] not in graph.outputs):
            continue
        if any(user.op_type != "QuantizeLinear" for user in users):
            continue
        quantize = ir.node("QuantizeLinear", [value, *users[0].inputs[1:]])
        dequantize = ir.node("DequantizeLinear", [quantize.outputs[0], *users[0].inputs[1:]])
        quantize.name, quantize.outputs[0].name = f"{above.name}_quantize", f"{value.name}_quantized"
        dequantize.name, dequantize.outputs[0].name = f"{above.name}_dequantize", f"{value.name}_dequantized"
        dequantize.outputs[0].type, dequantize.outputs[0].shape = value.type, value.shape
        graph.insert_before(act, [quantize, dequantize])
        act.replace_input_with(0, dequantize.outputs[0])


def data_operands(node: "ir.Node") -> list[int]:
    """Positions of the operands that carry float data (dequantized or not)."""
    inputs = node.inputs[:1] if node.op_type in FIRST_ONLY else node.inputs
    return [
        index
        for index, value in enumerate(inputs)
        if value is not None and (dequantizer(value) or (value.dtype is not None and value.dtype.name == "FLOAT"))
    ]


def dequantizer(value: "ir.Value | None") -> "ir.Node | None":
    node = value.producer() if value is not None else None
    return node if node is not None and node.op_type == "DequantizeLinear" else None


def wrapped(node: "ir.Node") -> bool:
    return bool(data_operands(node)) and all(dequantizer(node.inputs[index]) for index in data_operands(node)[:2])
