"""Files of float16 or float64 compute in float32 here: half of the runtimes have nothing else, and precision is chosen
when a file is made."""

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from edgewright.runtimes.contract import Contract, TensorInfo

if TYPE_CHECKING:
    import onnx_ir as ir

TYPE_ATTRIBUTES = ("to", "dtype")
"""Attributes that name an element type."""


def compute_in_float32(model: "ir.Model") -> int:
    """x₁₆ → Conv(W₁₆) → y₁₆ becomes x → Conv(W) → y; gives how many values, constants and attributes changed.

    float16 always; float64 where an input or output is of it: inside a float32 graph it counts, as for lengths.
    """
    ends = {value.dtype.name for value in (*model.graph.inputs, *model.graph.outputs) if value.dtype is not None}
    others = {"FLOAT16", *({"DOUBLE"} & ends)}
    nodes = [*model.graph.all_nodes(), *(node for body in model.functions.values() for node in body.all_nodes())]
    return _typed(model, nodes, others) + sum(_retyped(node, others) for node in nodes)


def with_types_of(contract: Contract, original: Contract) -> Contract:
    """The types that inputs and outputs had, and how the file holds them now."""
    types = {info.name: info.dtype for info in (*original.inputs, *original.outputs)}

    def held(info: TensorInfo) -> TensorInfo:
        changed = types[info.name] != info.dtype
        return replace(info, dtype=types[info.name], file_dtype=info.dtype) if changed else info

    return replace(contract, inputs=tuple(map(held, contract.inputs)), outputs=tuple(map(held, contract.outputs)))


def _typed(model: "ir.Model", nodes: "list[ir.Node]", others: Collection[str]) -> int:
    """Values and initializers, those of inner graphs too."""
    import onnx_ir as ir

    changed = 0
    for value in {*_values(model), *(output for node in nodes for output in node.outputs)}:
        if value.dtype is None or value.dtype.name not in others:
            continue
        tensor = value.const_value
        if tensor is not None:
            value.const_value = _single(tensor)
        value.dtype = ir.DataType.FLOAT
        changed += 1
    return changed


def _values(model: "ir.Model") -> "Iterator[ir.Value]":
    for graph in model.graphs():
        yield from graph.inputs
        yield from graph.initializers.values()


def _retyped(node: "ir.Node", others: Collection[str]) -> int:
    """Attributes that name another float type, or hold tensors of one."""
    import onnx_ir as ir

    changed = 0
    for name, attribute in list(node.attributes.items()):
        if attribute.is_ref():
            continue
        if name in TYPE_ATTRIBUTES and ir.DataType(attribute.as_int()).name in others:
            node.attributes[name] = ir.AttrInt64(name, int(ir.DataType.FLOAT))
            changed += 1
        elif attribute.type.name == "TENSOR" and attribute.as_tensor().dtype.name in others:
            node.attributes[name] = ir.AttrTensor(name, _single(attribute.as_tensor()))
            changed += 1
    return changed


def _single(tensor: "ir.TensorProtocol") -> "ir.TensorProtocol":
    """What float32 cannot hold becomes infinite, as in a Cast."""
    import onnx_ir as ir

    with np.errstate(over="ignore"):
        return ir.tensor(tensor.numpy().astype(np.float32), name=tensor.name)
