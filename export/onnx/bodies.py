"""The function body that onnx gives with an operator, put in the operator's place."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

DOMAIN = "edgewright.body"


def schema_at(op_type: str, opset: int) -> "onnx.defs.OpSchema | None":
    """The schema of a standard operator at an opset; None where it does not exist yet."""
    import onnx.defs

    try:
        return onnx.defs.get_schema(op_type, opset, "")
    except onnx.defs.SchemaError:
        return None


def has_body(op_type: str, opset: int) -> bool:
    schema: Any = schema_at(op_type, opset)
    return schema is not None and bool(schema.has_function or schema.has_context_dependent_function)


def inline_bodies(model: "ir.Model", nodes: Sequence["ir.Node"], opset: int) -> int:
    """Mish(x) → Softplus(x) → Tanh → Mul(x): in place; gives for how many nodes the schema at `opset` had a body.

    What the new values are (type, shape) is left to the inference of shapes.
    """
    from onnx_ir.passes.common import InlinePass

    count = 0
    for node in nodes:
        function = _body(node, opset)
        if function is None:
            continue
        function.domain, function.overload = DOMAIN, str(count)
        function.opset_imports[""] = model.opset_imports[""]  # those it names differ in element types alone
        model.functions[function.identifier()] = function
        node.domain, node.overload = DOMAIN, function.overload
        count += 1
    if count:
        InlinePass(lambda function: function.domain == DOMAIN)(model)
    return count


def _body(node: "ir.Node", opset: int) -> "ir.Function | None":
    import onnx
    import onnx_ir as ir

    schema: Any = schema_at(node.op_type, opset)
    if schema is None:
        return None
    proto = _with_defaults(node, schema)
    content = _context_dependent(schema, proto, node, opset)
    if content is None and schema.has_function:
        version = max(v for v in schema.function_opset_versions if v <= opset)
        content = schema.get_function_with_opset_version(version)
    if not content:
        return None
    body = onnx.FunctionProto.FromString(content)
    del body.output[len(node.outputs) :]
    made = {*body.input, *(name for inner in body.node for name in inner.output)} - {""}
    if not made.issuperset(body.output):  # one in the middle that nobody asked for, or that the body forgets
        return None
    function: ir.Function = ir.from_proto(body)
    for number, inner in enumerate(function.all_nodes()):
        inner.name = f"{node.name or node.op_type}/{inner.op_type}_{number}"
        for output in inner.outputs:
            output.name = f"{node.outputs[0].name}/{output.name}" if output.name else output.name
    return function


def _with_defaults(node: "ir.Node", schema: Any) -> "onnx.NodeProto":
    """The node as onnx writes it, every attribute spelled out: a body refers to them by name."""
    import onnx_ir as ir

    for name, attribute in schema.attributes.items():
        if name not in node.attributes and attribute.default_value.type:
            node.attributes[name] = ir.from_proto(attribute.default_value)
    return ir.to_proto(node)


def _context_dependent(schema: Any, proto: "onnx.NodeProto", node: "ir.Node", opset: int) -> bytes | None:
    """The body that types and attributes choose."""
    import onnx
    import onnx_ir as ir

    versions = [v for v in schema.context_dependent_function_opset_versions if v <= opset]
    if not schema.has_context_dependent_function or not versions:
        return None
    types = []
    for value in node.inputs:
        kind = onnx.TypeProto()
        if value is not None and value.type is not None:
            ir.serde.serialize_type_into(kind, value.type)
            if value.shape is not None:
                ir.serde.serialize_shape_into(kind, value.shape)
        types.append(kind.SerializeToString())
    content: bytes = schema.get_context_dependent_function_with_opset_version(
        max(versions), proto.SerializeToString(), types
    )
    return content
