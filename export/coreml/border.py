"""The contract of a Core ML file: what the ONNX file promised, and how Core ML holds it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from edgewright.errors import BadModel
from edgewright.export.coreml.builder import static_shape
from edgewright.runtimes.contract import CONTRACT_KEY, Contract, TensorInfo

if TYPE_CHECKING:
    import onnx_ir as ir


BORDER_DTYPES = {
    "FLOAT": "float32",
    **dict.fromkeys(("INT32", "INT64", "INT16", "UINT16", "INT8", "UINT8", "BOOL"), "int32"),
}
"""ONNX type of an input or output → how a Core ML file holds it. At its border Core ML has no other integers."""


def border_dtype(value: "ir.Value") -> str:
    return BORDER_DTYPES[value.dtype.name if value.dtype is not None else "FLOAT"]


def coreml_contract(model: "ir.Model") -> Contract:
    """Inputs and outputs in the order of the file. Shape () is the original's: the file holds it as [1].

    Raises BadModel when Core ML cannot hold an input or output.
    """
    graph = model.graph
    for value in (*graph.inputs, *graph.outputs):
        _check(value)
    text = model.metadata_props.get(CONTRACT_KEY)
    original = Contract.from_json(text).closed() if text else Contract(_derived(graph.inputs), _derived(graph.outputs))
    return Contract(_held(original.inputs, graph.inputs), _held(original.outputs, graph.outputs))


def _check(value: "ir.Value") -> None:
    if value.dtype is None or value.dtype.name not in BORDER_DTYPES:
        raise BadModel(f"{value.name!r} is {value.dtype}; a Core ML file takes and gives {', '.join(BORDER_DTYPES)}")
    if value.shape is None or not value.shape.is_static() or 0 in static_shape(value):
        raise BadModel(f"{value.name!r} has shape {value.shape}; a Core ML file is written for fixed lengths above 0")


def _derived(values: "Sequence[ir.Value]") -> tuple[TensorInfo, ...]:
    return tuple(
        TensorInfo(str(value.name), tuple(static_shape(value)), value.dtype.numpy().name if value.dtype else "float32")
        for value in values
    )


def _held(infos: Sequence[TensorInfo], values: "Sequence[ir.Value]") -> tuple[TensorInfo, ...]:
    names = [value.name for value in values]
    if [info.name for info in infos] != names:
        raise BadModel(f"the file's contract names {[info.name for info in infos]}, its graph {names}")
    dtypes = [border_dtype(value) for value in values]
    return tuple(replace(info, file_dtype=None if dtype == info.dtype else dtype) for info, dtype in zip(infos, dtypes))
