"""What an int8 file takes and gives: real values, or the codes of its own grids.

float   x → Q → DQ → …                     … → Q → DQ → y
int8    x (codes) → DQ → …                 … → Q → y (codes)
uint8   the same, zero point + 128: from int8 codes one requantization away, which moves each code by 128
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from edgewright.errors import BadInput, nearest
from edgewright.export.onnx.file import contract_of
from edgewright.export.onnx.graph import add_initializer, constant, make
from edgewright.runtimes.contract import CONTRACT_KEY, Contract, TensorInfo

if TYPE_CHECKING:
    import onnx_ir as ir

IoType = Literal["float", "int8", "uint8"]
IO_TYPES: tuple[IoType, ...] = ("float", "int8", "uint8")


def check_io(io: str) -> IoType:
    """Raises BadInput for an unknown one."""
    for known in IO_TYPES:
        if io == known:
            return known
    raise BadInput(f"io {io!r}: {nearest(io, IO_TYPES)}")


def set_io(model: "ir.Model", io: IoType) -> Contract:
    """Let inputs and outputs that are float32 hold codes of type `io`, in place; the contract, also in its metadata.

    Names and order stay, and so do ends of integers. Raises one BadInput for all ends without a grid: those that a
    float operator reads or gives, an input that is an output too, and ends that hold codes already.
    """
    contract, graph = contract_of(model), model.graph
    held = [info.name for info in (*contract.inputs, *contract.outputs) if info.scale is not None]
    if held:
        raise BadInput(f"{', '.join(held)} hold(s) codes already: give the file with float inputs and outputs")
    if io == "float":
        return contract
    inputs, outputs = (
        {str(value.name): index for index, value in enumerate(values)} for values in (graph.inputs, graph.outputs)
    )
    takes = [(info, inputs[info.name]) for info in contract.inputs if info.dtype == "float32"]
    gives = [(info, outputs[info.name]) for info in contract.outputs if info.dtype == "float32"]
    problems = [f"input {info.name} {why}" for info, i in takes if (why := _input_problem(graph.inputs[i]))]
    problems += [f"output {info.name} {why}" for info, i in gives if (why := _output_problem(graph.outputs[i]))]
    if problems:
        raise BadInput(f"io {io}: {'; '.join(problems)}, so it has no grid: keep float inputs and outputs")
    changed = {info.name: _take(graph, index, info, io) for info, index in takes}
    changed |= {info.name: _give(graph, index, info, io) for info, index in gives}
    made = Contract(*(_renewed(infos, changed) for infos in (contract.inputs, contract.outputs)))
    model.metadata_props[CONTRACT_KEY] = made.to_json()
    return made


def _renewed(infos: Sequence[TensorInfo], changed: dict[str, TensorInfo]) -> tuple[TensorInfo, ...]:
    return tuple(changed.get(info.name, info) for info in infos)


def _input_problem(value: "ir.Value") -> str | None:
    readers = value.consumers()
    if value.is_graph_output():
        return "is an output too"
    if len(readers) != 1 or readers[0].op_type != "QuantizeLinear" or not _per_tensor(readers[0]):
        return f"is read by {', '.join(sorted({node.op_type for node in readers})) or 'nothing'}"
    return None


def _output_problem(value: "ir.Value") -> str | None:
    node = value.producer()
    if node is None or node.op_type != "DequantizeLinear" or node.inputs[0] is None or not _per_tensor(node):
        return f"comes from {'nothing' if node is None else node.op_type}"
    return "is a constant" if node.inputs[0].is_initializer() else None


def _per_tensor(node: "ir.Node") -> bool:
    scale, zero_point = constant(node, 1), constant(node, 2)
    return scale is not None and scale.size == 1 and zero_point is not None and zero_point.dtype in (np.int8, np.uint8)


def _take(graph: "ir.Graph", index: int, info: TensorInfo, io: IoType) -> TensorInfo:
    import onnx_ir as ir

    old = graph.inputs[index]
    quantize = old.consumers()[0]
    scale, zero_point = _grid(quantize, io)
    new = ir.val(info.name, ir.DataType[io.upper()], old.shape)
    if constant(quantize, 2).dtype == io:  # type: ignore[union-attr]
        quantize.outputs[0].replace_all_uses_with(new, replace_graph_outputs=True)
        graph.remove(quantize, safe=True)
    else:
        point = add_initializer(graph, f"{info.name}_{io}_zero_point", zero_point)
        dequantize = make("DequantizeLinear", [new, quantize.inputs[1], point], name=f"{info.name}_{io}_dequantize")
        real = dequantize.outputs[0]
        real.name, real.dtype, real.shape = f"{info.name}_real", ir.DataType.FLOAT, old.shape
        graph.insert_before(quantize, dequantize)
        quantize.replace_input_with(0, real)
    graph.inputs[index] = new
    return replace(info, file_dtype=io, scale=scale, zero_point=int(zero_point))


def _give(graph: "ir.Graph", index: int, info: TensorInfo, io: IoType) -> TensorInfo:
    import onnx_ir as ir

    old = graph.outputs[index]
    dequantize = old.producer()
    assert dequantize is not None
    assert dequantize.inputs[0] is not None
    scale, zero_point = _grid(dequantize, io)
    old.name, new = f"{info.name}_dequantized", dequantize.inputs[0]
    if constant(dequantize, 2).dtype != io:  # type: ignore[union-attr]
        point = add_initializer(graph, f"{info.name}_{io}_zero_point", zero_point)
        last = make("QuantizeLinear", [old, dequantize.inputs[1], point], name=f"{info.name}_{io}_quantize")
        graph.insert_after(dequantize, last)
        new = last.outputs[0]
    elif new.is_graph_input() or new.is_graph_output():
        last = make("Identity", [new], name=f"{info.name}_identity")
        graph.insert_after(dequantize, last)
        new = last.outputs[0]
    graph.outputs[index] = new
    new.name, new.dtype, new.shape = info.name, ir.DataType[io.upper()], old.shape
    if not old.uses():
        graph.remove(dequantize, safe=True)
    return replace(info, file_dtype=io, scale=scale, zero_point=int(zero_point))


def _grid(node: "ir.Node", io: IoType) -> tuple[float, NDArray[np.int8] | NDArray[np.uint8]]:
    """Scale and zero point of a Q or DQ, the zero point as codes of type `io` have it."""
    scale, zero_point = constant(node, 1), constant(node, 2)
    assert scale is not None
    assert zero_point is not None
    signed = int(zero_point.item()) - (128 if zero_point.dtype == np.uint8 else 0)
    return float(scale.item()), np.array(signed).astype(np.int8) if io == "int8" else np.array(signed + 128, np.uint8)
