"""The contract of a Core ML file: what the ONNX file promised, and how Core ML holds it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from edgewright.errors import BadModel
from edgewright.export.coreml.builder import static_shape
from edgewright.export.onnx.counted import counted_names
from edgewright.runtimes.contract import CONTRACT_KEY, Contract, TensorInfo

if TYPE_CHECKING:
    import onnx_ir as ir


BORDER_DTYPES = {
    "FLOAT": "float32",
    **dict.fromkeys(("INT32", "INT64", "INT16", "UINT16", "INT8", "UINT8", "BOOL"), "int32"),
}
"""ONNX type of an input or output → how a Core ML file holds it. At its border Core ML has no other integers."""


def border_dtype(value: "ir.Value") -> str:
    """Of an end that `set_ends` has made float16, that one."""
    name = value.dtype.name if value.dtype is not None else "FLOAT"
    return "float16" if name == "FLOAT16" else BORDER_DTYPES[name]


def set_ends(graph: "ir.Graph", contract: Contract) -> None:
    """Let inputs and outputs be of the types that the contract wants: images float32, real values float16 if asked.

    Raises BadModel where an image is computed with as bytes, which wrap around.
    """
    import onnx_ir as ir

    for info, value in zip((*contract.inputs, *contract.outputs), (*graph.inputs, *graph.outputs), strict=True):
        if info.image is not None:
            others = sorted({node.op_type for node, _ in value.uses()} - {"Cast"})
            if others:
                raise BadModel(f"the image {info.name!r} is read by {', '.join(others)}: cast it to float first")
            value.dtype = ir.DataType.FLOAT
        elif info.file_dtype == "float16":
            value.dtype = ir.DataType.FLOAT16


def coreml_contract(model: "ir.Model") -> Contract:
    """Inputs and outputs in the order of the file. Shape () is the original's: the file holds it as [1].

    Raises BadModel when Core ML cannot hold an input or output.
    """
    graph = model.graph
    counted = counted_names(graph)
    for value in (*graph.inputs, *graph.outputs):
        _check(value, counted=value.name in counted)
    text = model.metadata_props.get(CONTRACT_KEY)
    original = Contract.from_json(text) if text else Contract(_derived(graph.inputs), _derived(graph.outputs))
    return Contract(_held(original.inputs, graph.inputs), _held(original.outputs, graph.outputs))


def _check(value: "ir.Value", *, counted: bool) -> None:
    """`counted`: its number of rows is known when the model runs."""
    if value.dtype is None or value.dtype.name not in BORDER_DTYPES:
        raise BadModel(f"{value.name!r} is {value.dtype}; a Core ML file takes and gives {', '.join(BORDER_DTYPES)}")
    if not counted and (value.shape is None or not value.shape.is_static() or 0 in static_shape(value)):
        raise BadModel(f"{value.name!r} has shape {value.shape}; a Core ML file is written for fixed lengths above 0")


def _derived(values: "Sequence[ir.Value]") -> tuple[TensorInfo, ...]:
    return tuple(
        TensorInfo(str(value.name), _lengths(value), value.dtype.numpy().name if value.dtype else "float32")
        for value in values
    )


def _lengths(value: "ir.Value") -> tuple[int | None, ...]:
    """None for a length that is counted when the model runs."""
    return tuple(n if isinstance(n, int) else None for n in value.shape) if value.shape is not None else ()


def _held(infos: Sequence[TensorInfo], values: "Sequence[ir.Value]") -> tuple[TensorInfo, ...]:
    names = [value.name for value in values]
    if [info.name for info in infos] != names:
        raise BadModel(f"the file's contract names {[info.name for info in infos]}, its graph {names}")
    dtypes = [border_dtype(value) for value in values]
    return tuple(replace(info, file_dtype=None if dtype == info.dtype else dtype) for info, dtype in zip(infos, dtypes))
