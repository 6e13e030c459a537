"""A clean ONNX graph → a MIL program: one function `main`, float32 at its border, tensors named as in the graph."""

import re
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgewright.errors import BadModel, Error, UnsupportedOps
from edgewright.export.coreml.border import border_dtype
from edgewright.export.coreml.builder import MilBuilder, Value, element_type, is_compressed, static_shape
from edgewright.export.coreml.lowerings import COREML
from edgewright.export.coreml.names import Names
from edgewright.export.coreml.numbers import int32_of, rounded, survives_float16
from edgewright.export.lowering import attributes

if TYPE_CHECKING:
    import onnx_ir as ir

MAX_RANK = 5


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

    COREML.check_coverage(graph)
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

    kind = types.fp32 if border_dtype(value) == "float32" else types.int32
    return mb.placeholder(shape=static_shape(value) or [1], dtype=kind)


class GraphLowering:
    """The values of the graph as they come into being.

    In a float16 program every node computes in float16 unless one of its constants would not survive that, or
    `float32` names it; a tensor is cast when its first reader of the other precision appears.
    """

    def __init__(
        self,
        graph: "ir.Graph",
        builder: MilBuilder,
        compute: type[np.floating[Any]],
        names: Names,
        float32: Collection[str],
    ) -> None:
        self.graph = graph
        self.b = builder
        self.compute = compute
        self.names = names
        self.float32_nodes: list[str] = []
        self._float32 = float32
        self._casts: dict[tuple[int, str], Any] = {}
        self._named_vars: set[int] = set()
        self._refused: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        self.values: dict[str, Value] = {
            name: value.const_value.numpy()
            for name, value in graph.initializers.items()
            if value.const_value is not None
        }

    def take_inputs(self, variables: list[Any]) -> None:
        for value, var in zip(self.graph.inputs, variables, strict=True):
            name = str(value.name)
            if not static_shape(value):
                var = self.b.mb.squeeze(x=var, axes=[0])
            if value.dtype is not None and value.dtype.name == "BOOL":
                var = self.b.mb.cast(x=var, dtype="bool")
            self.values[name] = var

    def lower(self, node: "ir.Node") -> None:
        """Run the node's rule; a refusal is noted, and zeros stand in so that the rest is looked at too."""
        self.b.node = node
        try:
            results = self._apply(node)
        except UnsupportedOps as refusal:
            for op_type, (reason, nodes) in refusal.missing.items():
                self._refused[op_type][reason] += nodes
            for value in node.outputs:
                dtype = value.dtype.numpy() if value.dtype is not None else np.float32
                self.values[str(value.name)] = np.zeros([n if n else 1 for n in static_shape(value)], dtype)
            return
        for value, result in zip(node.outputs, results):
            if value.name:
                self.values[value.name] = self._named(value, result)

    def raise_refusals(self) -> None:
        if self._refused:
            raise UnsupportedOps(
                "coreml",
                {
                    op_type: ("; ".join(reasons), [node for nodes in reasons.values() for node in nodes])
                    for op_type, reasons in self._refused.items()
                },
            )

    def output(self, value: "ir.Value") -> Any:
        """The Var of a graph output: its own name, float32 or int32, rank 1 at least."""
        var, wanted = self.values[str(value.name)], border_dtype(value)
        if isinstance(var, np.ndarray):
            raise BadModel(f"output {value.name!r} is a constant: it does not depend on any input")
        mb = self.b.mb
        if not var.shape:
            var = mb.expand_dims(x=var, axes=[0])
        if element_type(var) != wanted:
            var = mb.cast(x=var, dtype="fp32" if wanted == "float32" else "int32")
        elif self._is_named(var):
            var = mb.identity(x=var)
        return self._rename(var, self.names.of(str(value.name)))

    def name_the_rest(self, function: Any) -> None:
        """Operations that no tensor names must not take a tensor's name either."""
        for operation in function.operations:
            for var in operation.outputs:
                if id(var) not in self._named_vars:
                    self._rename(var, self.names.free(var.name))

    def _apply(self, node: "ir.Node") -> tuple[Value, ...]:
        for value in (*node.inputs, *node.outputs):
            shape = static_shape(value) if value is not None else []
            if len(shape) > MAX_RANK:
                raise self.b.refusal(f"rank {len(shape)}, Core ML tensors have at most {MAX_RANK} dimensions")
            if 0 in shape and value not in node.inputs[1:]:  # as parameter an empty list is meant
                raise self.b.refusal("an empty tensor")
        rule = COREML.rules()[node.op_type]
        inputs = [None if value is None else self.values[str(value.name)] for value in node.inputs]
        self.b.dtype = self._arithmetic(node, inputs)
        try:
            result = rule.function(self.b, *[self._ready(node, value) for value in inputs], **attributes(node))
        except (ValueError, NotImplementedError) as error:
            if isinstance(error, Error):
                raise
            raise self.b.refusal(_reason(error)) from error
        return tuple(result) if isinstance(result, tuple | list) else (result,)

    def _arithmetic(self, node: "ir.Node", inputs: list[Value]) -> type[np.floating[Any]]:
        """The precision that a node computes in.

        A bias is made once, in float32. An int8 program reads its input and writes its output in float32 directly.
        """
        arrays = [value for value in inputs if isinstance(value, np.ndarray)]
        if self.compute is np.float32:
            return np.float32
        if node.op_type == "DequantizeLinear" and (
            node.outputs[0].is_graph_output() or element_type(inputs[0]) == "int32"
        ):
            return np.float32
        if node.op_type == "QuantizeLinear" and element_type(inputs[0]) == "float32":
            return np.float32
        weights = [value for value in inputs if is_compressed(value)]
        fits = all(survives_float16(array) for array in arrays) and all(element_type(w) == "float16" for w in weights)
        if fits and node.name not in self._float32:
            return np.float16
        self.float32_nodes.append(str(node.name))
        return np.float32

    def _ready(self, node: "ir.Node", value: Value) -> Value:
        """A value in the node's arithmetic; integers in int32, the only kind that Core ML computes with."""
        if value is None:
            return None
        if isinstance(value, np.ndarray):
            if value.dtype == np.int64:
                narrow = int32_of(value, saturate=node.op_type == "Slice")
                if narrow is None:
                    raise self.b.refusal("integers beyond 32 bits")
                return narrow
            if value.dtype == np.float64:
                raise self.b.refusal("float64 constants")
            return rounded(value, self.b.dtype) if value.dtype.kind == "f" else value
        wanted = np.dtype(self.b.dtype).name
        if not element_type(value).startswith("float") or element_type(value) == wanted:
            return value
        known = self._casts.get((id(value), wanted))
        if known is None:
            short = {"float16": "fp16", "float32": "fp32"}[wanted]
            known = self.b.mb.cast(x=value, dtype=short)
            self._casts[id(value), wanted] = known
        return known

    def _named(self, value: "ir.Value", result: Value) -> Value:
        """Give a new Var the name of its tensor, after checking that MIL inferred what ONNX did."""
        if isinstance(result, np.ndarray):
            return result
        if value.shape is not None and value.shape.is_static() and list(result.shape) != static_shape(value):
            raise Error(
                f"{self.b.node.op_type} {self.b.node.name!r}: MIL infers shape {list(result.shape)} for "
                f"{value.name!r}, ONNX {static_shape(value)}; please report this model"
            )
        if self._is_named(result) or value.is_graph_output():
            return result
        return self._rename(result, self.names.of(str(value.name)))

    def _is_named(self, var: Any) -> bool:
        return var.op is None or id(var) in self._named_vars  # a Var without operation is an input of the function

    def _rename(self, var: Any, name: str) -> Any:
        var.name = name
        if len(var.op.outputs) == 1:
            var.op.name = name
        self._named_vars.add(id(var))
        return var


def _reason(error: Exception) -> str:
    """Why coremltools would not build an operation, in one line; a version problem names the lowest target."""
    needed = re.search(r"version for (\w+) in .* at least coremltools\.target\.(\w+)", str(error), re.DOTALL)
    if needed:
        return f"MIL's `{needed[1]}` needs target {needed[2]} or later"
    return f"coremltools refuses it: {' '.join(str(error).split())}"
