"""A clean ONNX graph → a MIL program: one function `main`, tensors named as in the graph."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgewright.export.coreml.border import border_dtype
from edgewright.export.coreml.builder import MilBuilder, static_shape
from edgewright.export.coreml.lower import GraphLowering
from edgewright.export.coreml.lowerings import COREML
from edgewright.export.coreml.names import Names
from edgewright.export.reasons import REASONS

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True)
class MilProgram:
    """`renamed` maps MIL names to the graph's where they differ; `float32_nodes` kept float32 in a float16 program."""

    program: Any
    renamed: dict[str, str]
    float32_nodes: tuple[str, ...]


def build_program(
    graph: "ir.Graph", opset: str, compute: type[np.floating[Any]], float32: Collection[str] = ()
) -> MilProgram:
    """Lower every node, those named in `float32` in that. Raises UnsupportedOps with all problems of all nodes."""
    import coremltools as ct  # type: ignore[import-untyped]
    from coremltools.converters.mil.mil import Builder, Function, Program  # type: ignore[import-untyped]

    COREML.check_coverage(graph.all_nodes(), REASONS)
    Builder.name_count.clear()  # coremltools numbers its unnamed operations over the whole process
    names = Names(graph)
    program = Program()
    placeholders = {names.of(str(value.name)): _placeholder(Builder, value) for value in graph.inputs}
    with Function(placeholders, opset_version=ct.target[opset]) as function:
        lowering = GraphLowering(graph, MilBuilder(Builder, opset), compute, names, float32)
        lowering.take_inputs(list(function.inputs.values()))
        for node in graph:
            lowering.lower(node)
        lowering.raise_refusals()
        function.set_outputs([lowering.output(value) for value in graph.outputs])
        lowering.name_the_rest(function)
    program.add_function("main", function)
    return MilProgram(program, names.renamed, tuple(lowering.float32_nodes))


def _placeholder(mb: Any, value: "ir.Value") -> Any:
    from coremltools.converters.mil.mil import types

    kinds = {"float32": types.fp32, "float16": types.fp16, "int32": types.int32}
    return mb.placeholder(shape=static_shape(value) or [1], dtype=kinds[border_dtype(value)])
