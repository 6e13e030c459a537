"""The contract of a Core ML file: what the ONNX file promised, and how Core ML holds it."""

from dataclasses import replace
from typing import TYPE_CHECKING

from edgewright.export.coreml.builder import static_shape
from edgewright.export.coreml.program import BORDER_DTYPES
from edgewright.runtimes.contract import CONTRACT_KEY, Contract, TensorInfo

if TYPE_CHECKING:
    import onnx_ir as ir


def coreml_contract(model: "ir.Model") -> Contract:
    """Inputs and outputs in the order of the file. Shape () is the original's: the file holds it as [1]."""
    text = model.metadata_props.get(CONTRACT_KEY)
    graph = model.graph
    original = Contract.from_json(text) if text else Contract(_derived(graph.inputs), _derived(graph.outputs))
    return Contract(
        tuple(_held(info, value) for info, value in zip(original.inputs, graph.inputs, strict=True)),
        tuple(_held(info, value) for info, value in zip(original.outputs, graph.outputs, strict=True)),
    )


def _derived(values: "list[ir.Value] | tuple[ir.Value, ...]") -> tuple[TensorInfo, ...]:
    return tuple(
        TensorInfo(str(value.name), tuple(static_shape(value)), value.dtype.numpy().name if value.dtype else "float32")
        for value in values
    )


def _held(info: TensorInfo, value: "ir.Value") -> TensorInfo:
    dtype = BORDER_DTYPES[value.dtype.name if value.dtype is not None else "FLOAT"]
    return replace(info, file_dtype=None if dtype == info.dtype else dtype)
