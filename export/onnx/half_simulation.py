"""A float32 graph that answers as its float16 form does: every tensor is rounded to float16 where it would be stored.

onnxruntime's own float16 graphs do not tell: on CPUs it leaves most operators, and what lies between them, in float32.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING

from edgewright.export.onnx.graph import make

if TYPE_CHECKING:
    import onnx_ir as ir


def rounded_copy(model: "ir.Model", kept: Collection[str]) -> "ir.Model":
    """A copy in which x → op → y became x → Cast₁₆ → Cast₃₂ → op → Cast₁₆ → Cast₃₂ → y, but for the nodes in `kept`."""
    import onnx_ir as ir

    copy = model.clone()
    rounded: dict[ir.Value, ir.Value] = {}
    for node in list(copy.graph):
        if node.name in kept or node.op_type == "DequantizeLinear":
            continue
        for index, value in enumerate(node.inputs):
            if value is not None and value.dtype == ir.DataType.FLOAT and value not in rounded.values():
                if value not in rounded:
                    rounded[value] = _round(value, before=node)
                node.replace_input_with(index, rounded[value])
        for output in node.outputs:
            if output.dtype == ir.DataType.FLOAT and output.name:
                rounded[output] = _round(output)
    return copy


def _round(value: "ir.Value", before: "ir.Node | None" = None) -> "ir.Value":
    """`value` rounded; without `before`, for all its readers, by its name."""
    import onnx_ir as ir

    half = make("Cast", [value], {"to": ir.DataType.FLOAT16}, name=f"{value.name}_half")
    back = make("Cast", [half.outputs[0]], {"to": ir.DataType.FLOAT}, name=f"{value.name}_back")
    result = back.outputs[0]
    half.outputs[0].dtype, half.outputs[0].shape = ir.DataType.FLOAT16, value.shape
    half.outputs[0].name = f"{value.name}_half"
    result.dtype, result.shape = ir.DataType.FLOAT, value.shape
    if before is not None:
        assert before.graph is not None
        before.graph.insert_before(before, [half, back])
        result.name = f"{value.name}_rounded"
        return result
    producer = value.producer()
    assert producer is not None and producer.graph is not None
    graph, name = producer.graph, value.name
    readers, ends = list(value.uses()), [i for i, output in enumerate(graph.outputs) if output is value]
    value.name, result.name = f"{name}_single", name
    graph.insert_after(producer, [half, back])
    for reader, index in [(use.node, use.idx) for use in readers if use.node is not half]:
        reader.replace_input_with(index, result)
    for index in ends:
        graph.outputs[index] = result
    return result
