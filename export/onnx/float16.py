"""onnx:float32 → onnx:float16: half precision inside, the original's float32 at the boundary."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from edgewright.errors import UnsupportedOps
from edgewright.export.lowering import INTERNAL_OPSET
from edgewright.export.onnx.file import contract_of, load_onnx, save_model
from edgewright.export.onnx.graph import add_initializer, make, nodes_of
from edgewright.export.onnx.overflow import LARGEST, float32_ops
from edgewright.export.onnx.passes.dead_code import remove_dead_code
from edgewright.export.onnx.passes.names import tidy_names
from edgewright.export.steps import Job, NoOptions, Notes, step
from edgewright.runtimes.artifact import Artifact

if TYPE_CHECKING:
    import onnx_ir as ir

SMALLEST = float(np.finfo(np.float16).smallest_subnormal)  # 6e-8


@step(
    source="onnx:float32",
    target="onnx:float16",
    needs={"onnx": "onnx", "onnx-ir": "onnx", "onnxscript": "onnx", "onnxruntime": "onnx"},
    cost=0.3,
    uses_data="if given",
)
def float16(source: Artifact, out: Path, job: Job, options: NoOptions) -> Notes:  # noqa: ARG001
    """Halve weights and compute in float16, except operators whose constants or, on samples, tensors do not fit it."""
    model = load_onnx(source.path)
    contract = contract_of(model)
    kept = halve(model, float32_ops(model, contract, job, beyond_constants(model)))
    save_model(model, contract, out)
    return {"float32_ops": [{"op": node.op_type, "node": node.name, "why": why} for node, why in kept.items()]}


def beyond_constants(model: "ir.Model") -> dict[str, str]:
    """Names of the nodes that `halve` keeps in float32 in any case, and why."""
    return {str(node.name): why for node in nodes_of(model) if (why := _obstacle(node))}


def halve(model: "ir.Model", keep: Mapping[str, str] = MappingProxyType({})) -> "dict[ir.Node, str]":
    """Make the model compute in float16, in place; gives the operators that stay in float32, and why.

    `keep` names further nodes that stay in float32, with the reason.

    x → Conv → y becomes x → Cast → Conv(W₁₆) → Cast → y. Raises UnsupportedOps on control flow, whose bodies it
    would have to follow.
    """
    _refuse_control_flow(model)
    kept = {node: why for node in nodes_of(model) if (why := _obstacle(node) or keep.get(str(node.name)))}
    halves = _Halves(model.graph, kept)
    for node in list(model.graph):
        halves.convert(node)
    halves.restore_outputs()
    remove_dead_code(model)
    tidy_names(model)
    return kept


@dataclass
class _Halves:
    """The graph while it is converted: each float32 value's float16 twin and back, so that each is cast once."""

    graph: "ir.Graph"
    kept: "dict[ir.Node, str]"
    _twins: "dict[tuple[ir.Value, ir.DataType], ir.Value]" = field(default_factory=dict)

    def convert(self, node: "ir.Node") -> None:
        """Give the node inputs of the type it wants, and mark the type of what it gives."""
        import onnx_ir as ir

        single, half = ir.DataType.FLOAT, ir.DataType.FLOAT16
        takes, gives = _may_be_half(node) if node not in self.kept else ([], [])
        for index, value in enumerate(node.inputs):
            if value is not None and value.dtype in (single, half):
                wanted = half if index < len(takes) and takes[index] else single
                node.replace_input_with(index, self._as(value, wanted, node))
        for index, output in enumerate(node.outputs):
            if output.dtype == single and index < len(gives) and gives[index]:
                output.dtype = half
        if node.op_type == "Cast" and node.outputs[0].dtype == half:
            node.attributes.add(ir.AttrInt64("to", half))

    def restore_outputs(self) -> None:
        """Outputs keep their names and float32."""
        import onnx_ir as ir

        for index, value in enumerate(self.graph.outputs):
            producer = value.producer()
            if value.dtype == ir.DataType.FLOAT16 and producer is not None:
                cast = make("Cast", [value], {"to": ir.DataType.FLOAT}, name=f"{value.name}_to_float32")
                cast.outputs[0].dtype, cast.outputs[0].shape = ir.DataType.FLOAT, value.shape
                cast.outputs[0].name, value.name = value.name, f"{value.name}_float16"
                self.graph.append(cast)
                self.graph.outputs[index] = cast.outputs[0]

    def _as(self, value: "ir.Value", dtype: "ir.DataType", reader: "ir.Node") -> "ir.Value":
        import onnx_ir as ir

        if value.dtype == dtype:
            return value
        key = (value, dtype)
        if key not in self._twins:
            name = f"{value.name}_{'float16' if dtype == ir.DataType.FLOAT16 else 'float32'}"
            if value.const_value is not None:
                twin = add_initializer(self.graph, name, value.const_value.numpy().astype(dtype.numpy()))
            else:
                cast = make("Cast", [value], {"to": dtype}, name=f"{name}_cast")
                twin = cast.outputs[0]
                twin.name, twin.dtype, twin.shape = name, dtype, value.shape
                self.graph.insert_before(reader, cast)
            self._twins[key] = twin
        return self._twins[key]


def _refuse_control_flow(model: "ir.Model") -> None:
    found: dict[str, tuple[str, list[str]]] = {}
    for node in model.graph:
        if any(attribute.type.name in ("GRAPH", "GRAPHS") for attribute in node.attributes.values()):
            found.setdefault(node.op_type, ("its body would stay float32", []))[1].append(node.name or "")
    if found:
        raise UnsupportedOps("onnx:float16", found)


def _obstacle(node: "ir.Node") -> str | None:
    """Why a node must stay in float32: a constant that float16 cannot hold, or a schema without float16."""
    import onnx_ir as ir

    for value in node.inputs:
        if value is None or value.const_value is None or value.dtype != ir.DataType.FLOAT:
            continue
        array = np.abs(value.const_value.numpy())
        if np.isfinite(array).all() and array.max(initial=0) > LARGEST:
            return f"{value.name} reaches {array.max():.3g}; float16 ends at {LARGEST:.0f}"
        if 0 < array.max(initial=0) < SMALLEST:
            return f"{value.name} would become zero in float16"
    if any(a.type.name == "TENSOR" and a.as_tensor().dtype == ir.DataType.FLOAT for a in node.attributes.values()):
        return "it holds a float32 tensor as attribute"
    if node.op_type != "Cast" and "dtype" in node.attributes:
        return "it names the type of its output"
    return None


def _may_be_half(node: "ir.Node") -> tuple[list[bool], list[bool]]:
    """For each input and output, whether the operator's schema admits float16 there."""
    import onnx.defs

    if node.domain not in ("", "ai.onnx"):
        return [], []
    schema = onnx.defs.get_schema(node.op_type, INTERNAL_OPSET, "")

    def admits(formals: "list[onnx.defs.OpSchema.FormalParameter]", count: int) -> list[bool]:
        flags = ["tensor(float16)" in formal.types for formal in formals]
        return [flags[min(index, len(flags) - 1)] if flags else False for index in range(count)]

    return admits(list(schema.inputs), len(node.inputs)), admits(list(schema.outputs), len(node.outputs))
