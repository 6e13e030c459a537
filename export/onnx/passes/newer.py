"""Operators of opsets after the internal one, in terms of those that it has."""

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from edgewright.errors import BadModel
from edgewright.export.lowering import INTERNAL_OPSET
from edgewright.export.onnx.bodies import inline_bodies, schema_at
from edgewright.export.onnx.decompose import expand, tidy
from edgewright.export.onnx.passes.constants import lift_constants
from edgewright.export.onnx.passes.shapes import infer_shapes

if TYPE_CHECKING:
    import onnx_ir as ir

ROUNDS = 8  # SwiGLU is written with Swish


def lower_opset(model: "ir.Model", opset: int) -> int:
    """Swish(x) → x·Sigmoid(αx): what the internal opset lacks is expanded, the rest stays as it is.

    Raises BadModel naming every operator, or attribute, that has no form there.
    """
    model.opset_imports[""] = opset
    lift_constants(model)
    left = _newer(model, opset)
    for _ in range(ROUNDS):
        if not left:
            break
        infer_shapes(model)
        unexpanded = [node for node in left if not expand(node)]
        if inline_bodies(model, unexpanded, opset) == 0 and len(unexpanded) == len(left):
            break
        tidy(model)
        left = _newer(model, opset)
    if left:
        raise BadModel(_explain(left, opset))
    model.opset_imports[""] = INTERNAL_OPSET
    return 1


def _newer(model: "ir.Model", opset: int) -> list["ir.Node"]:
    nodes = [node for node in model.graph.all_nodes() if node.domain in ("", "ai.onnx")]
    return [node for node in nodes if not _exists(node, opset)]


def _exists(node: "ir.Node", opset: int) -> bool:
    """Whether the node means the same at the internal opset; attributes that it lacks are dropped at their default.

    An element type that the older schema does not know would stop the inference of shapes for the whole graph.
    """
    new: Any = schema_at(node.op_type, opset)
    old: Any = schema_at(node.op_type, INTERNAL_OPSET)
    if new is None or old is None:
        return False
    if new.since_version == old.since_version:
        return True
    for name in [name for name in node.attributes if name not in old.attributes]:
        if not _is_default(node.attributes[name], new):
            return False
        del node.attributes[name]
    fits = len(node.inputs) <= old.max_input and len(node.outputs) <= old.max_output
    return fits and all(
        value is None
        or value.dtype is None
        or _type_name(value.dtype) in old.inputs[min(index, len(old.inputs) - 1)].types
        for index, value in enumerate(node.inputs)
    )


def _type_name(dtype: "ir.DataType") -> str:
    return f"tensor({dtype.name.lower()})"


def _is_default(attribute: "ir.Attr", schema: Any) -> bool:
    import onnx_ir as ir

    known = schema.attributes.get(attribute.name)
    default = None if known is None or not known.default_value.type else ir.from_proto(known.default_value).value
    # which type a value is computed in, where there is but one left: float32
    return attribute.value == default or (attribute.name in ("output_dtype", "precision") and attribute.value in (0, 1))


def _explain(nodes: "list[ir.Node]", opset: int) -> str:
    names: dict[str, list[str]] = defaultdict(list)
    for node in nodes:
        names[node.op_type].append(node.name or node.op_type)
    rows = "\n".join(f"  {op}: {len(where)} × ({', '.join(where[:3])})" for op, where in sorted(names.items()))
    return (
        f"opset {opset}: these have no form at opset {INTERNAL_OPSET}; export the model with opset {INTERNAL_OPSET}, "
        f"or write them with other operators:\n{rows}"
    )
