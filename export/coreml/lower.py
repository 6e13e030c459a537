"""The nodes of a graph, one after the other, through their rules: in which precision, and under which names."""

import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgewright.errors import BadModel, Error, UnsupportedOps
from edgewright.export.coreml.axes import agrees, held_shape
from edgewright.export.coreml.border import border_dtype
from edgewright.export.coreml.builder import CODES, MilBuilder, Value, element_type, is_compressed, static_shape
from edgewright.export.coreml.fixed import MIL_NAMES, computed, held
from edgewright.export.coreml.folded import folded, has_many_axes
from edgewright.export.coreml.lowerings import COREML
from edgewright.export.coreml.names import Names, operations_in
from edgewright.export.coreml.numbers import int32_of, rounded, survives_float16
from edgewright.export.lowering import attributes

if TYPE_CHECKING:
    import onnx_ir as ir

QUANTIZING = ("QuantizeLinear", "DequantizeLinear")
PARTS = ("Concat", "Split")
"""Their rules leave empty parts out."""
FLOAT32_ONLY = {"LSTM": "iOS17", "RNN": "iOS17"}
"""Operators whose MIL operation computes in float32 alone below that target."""
CHOOSING = "NonMaxSuppression"
"""Which boxes stay must not depend on the rounding of their sides to float16."""
OF_ANY_LENGTH = ("Add", "Cast", "Gather", "GatherND", "Identity", "Mul", "Squeeze", "Sub", "Transpose")
"""Their rules take rows that are counted only when the program runs."""


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
        self.b.inner = self.inner
        self.compute = compute
        self.names = names
        self.float32_nodes: dict[str, None] = {}
        self._float32 = float32
        self._casts: dict[tuple[int, str], Any] = {}
        self._named_vars: set[int] = set()
        self._refused: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        self._values: dict[ir.Value, Value] = {}
        self._given: list[Any] = []

    def take_inputs(self, variables: list[Any]) -> None:
        """Raises BadModel when there are none and the target wants one."""
        if not variables and self.b.opset < "iOS18":
            raise BadModel("its graph has no inputs; Core ML takes a file without from target iOS18 / watchOS11 on")
        self._given = variables
        for value, var in zip(self.graph.inputs, variables, strict=True):
            if not static_shape(value):
                var = self.b.mb.squeeze(x=var, axes=[0])
            if value.dtype is not None and value.dtype.name == "BOOL":
                var = self.b.mb.cast(x=var, dtype="bool")
            self._values[value] = var

    def lower(self, node: "ir.Node") -> None:
        """Run the node's rule; a refusal is noted, and zeros stand in so that the rest is looked at too."""
        self.b.node = node
        try:
            results = self._apply(node)
        except UnsupportedOps as refusal:
            for op_type, (reason, nodes) in refusal.missing.items():
                self._refused[op_type][reason] += [name for name in nodes if name not in self._refused[op_type][reason]]
            for value in node.outputs:
                dtype = value.dtype.numpy() if value.dtype is not None else np.float32
                self._values[value] = np.zeros([n if n else 1 for n in static_shape(value)], dtype)
            return
        for value, result in zip(node.outputs, results):
            if value.name:
                self._values[value] = self._named(node, value, result)

    def inner(self, graph: "ir.Graph", given: Sequence[Value]) -> list[Value]:
        """What an inner graph gives, lowered into the block that MIL is building; `given` are its inputs.

        Casts that were made in the block are not seen outside of it.
        """
        b, casts, outer = self.b, dict(self._casts), (self.b.node, self.b.dtype, self._float32)
        if b.dtype is np.float32:
            self._float32 = {*self._float32, *(str(node.name) for node in graph.all_nodes())}
        self._values.update(zip(graph.inputs, given, strict=True))
        for node in graph:
            self.lower(node)
        b.node, b.dtype, self._float32 = outer
        results = [self._ready(b.node, self._value(value)) for value in graph.outputs]
        self._casts = casts
        return results

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
        """The Var of a graph output: its own name, rank 1 at least, in the type of the border."""
        var, wanted, mb = self._value(value), border_dtype(value), self.b.mb
        array = var if isinstance(var, np.ndarray) else var.val
        if array is not None:
            constant = held(array, wanted, str(value.name))
            var = computed(mb, constant, self._given[0]) if self._given else mb.identity(x=constant)
        if not var.shape:
            var = mb.expand_dims(x=var, axes=[0])
        if element_type(var) != wanted:
            var = mb.cast(x=var, dtype=MIL_NAMES[wanted])
        elif self._is_named(var):
            var = mb.identity(x=var)
        return self._rename(var, self.names.of(str(value.name)))

    def name_the_rest(self, function: Any) -> None:
        """Operations that no tensor names must not take a tensor's name either."""
        for operation in operations_in(function):
            for var in operation.outputs:
                if id(var) not in self._named_vars:
                    self._rename(var, self.names.free(var.name))

    def _apply(self, node: "ir.Node") -> tuple[Value, ...]:
        for value in (*node.inputs, *node.outputs):
            shape = static_shape(value) if value is not None else []
            parameter = value in node.inputs[1:] or node.op_type in PARTS  # as parameter an empty list is meant
            if 0 in shape and not parameter:
                raise self.b.refusal("an empty tensor")
        self._need_known_lengths(node)
        rule = COREML.rules()[node.op_type]
        inputs = [None if value is None else self._value(value) for value in node.inputs]
        self.b.dtype = self._arithmetic(node, inputs)
        ready = [self._ready(node, value) for value in inputs]
        try:
            many = has_many_axes(node)
            result = folded(self.b, node, ready) if many else rule.function(self.b, *ready, **attributes(node))
        except (ValueError, NotImplementedError) as error:
            if isinstance(error, Error):
                raise
            raise self.b.refusal(_reason(error)) from error
        return tuple(result) if isinstance(result, tuple | list) else (result,)

    def _need_known_lengths(self, node: "ir.Node") -> None:
        shapes = [value.shape for value in node.inputs if value is not None and value.shape is not None]
        if node.op_type not in OF_ANY_LENGTH and not all(shape.is_static() for shape in shapes):
            raise self.b.refusal("how many rows it reads is known only when it runs: do it in the app")

    def _value(self, value: "ir.Value") -> Value:
        if value not in self._values and value.const_value is not None:
            self._values[value] = value.const_value.numpy()
        return self._values[value]

    def _arithmetic(self, node: "ir.Node", inputs: list[Value]) -> type[np.floating[Any]]:
        """The precision that a node computes in.

        A bias is made once, in float32. An int8 program reads its input and writes its output in float32 directly.
        """
        arrays = [value for value in inputs if isinstance(value, np.ndarray)]
        if self.compute is np.float32 or self.b.opset < FLOAT32_ONLY.get(node.op_type, ""):
            return np.float32
        if node.op_type == "DequantizeLinear" and (
            node.outputs[0].is_graph_output() or element_type(inputs[0]) == "int32"
        ):
            return np.float32
        if node.op_type == "QuantizeLinear" and element_type(inputs[0]) == "float32":
            return np.float32
        weights = [value for value in inputs if is_compressed(value)]
        fits = all(survives_float16(array) for array in arrays) and all(element_type(w) == "float16" for w in weights)
        if fits and node.name not in self._float32 and node.op_type != CHOOSING:
            return np.float16
        self.float32_nodes[str(node.name)] = None
        return np.float32

    def _ready(self, node: "ir.Node", value: Value) -> Value:
        """A value in the node's arithmetic; integers in int32, the only kind that Core ML computes with."""
        if value is None:
            return None
        if isinstance(value, np.ndarray):
            return self._ready_array(node, value)
        wanted = np.dtype(self.b.dtype).name
        if not element_type(value).startswith("float") or element_type(value) == wanted:
            return value
        known = self._casts.get((id(value), wanted))
        if known is None:
            short = {"float16": "fp16", "float32": "fp32"}[wanted]
            known = self.b.mb.cast(x=value, dtype=short)
            self._casts[id(value), wanted] = known
        return known

    def _ready_array(self, node: "ir.Node", array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        if array.dtype == np.float64:
            raise self.b.refusal("float64 constants: make them float32")
        if array.dtype.kind == "f":
            return rounded(array, self.b.dtype)
        if array.dtype.kind not in "iu" or node.op_type in QUANTIZING or self._moves_codes(node):
            return array
        narrow = int32_of(array, saturate=node.op_type == "Slice")
        if narrow is None:
            raise self.b.refusal("integers beyond 32 bits")
        return narrow

    def _moves_codes(self, node: "ir.Node") -> bool:
        """Whether an operand is computed codes of 8 bits: constants beside it stay codes as well."""
        values = [self._values.get(value) for value in node.inputs if value is not None]
        return any(v is not None and not isinstance(v, np.ndarray) and element_type(v) in CODES for v in values)

    def _named(self, node: "ir.Node", value: "ir.Value", result: Value) -> Value:
        """Give a new Var the name of its tensor, after checking that MIL inferred what ONNX did."""
        if isinstance(result, np.ndarray):
            return result
        known = value.shape is not None and value.shape.is_static()
        if known and not agrees(result, held_shape(static_shape(value))):
            raise Error(
                f"{node.op_type} {node.name!r}: MIL infers shape {list(result.shape)} for "
                f"{value.name!r}, ONNX {static_shape(value)}; please report this model"
            )
        if node.graph is not self.graph or self._is_named(result) or value.is_graph_output():
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
