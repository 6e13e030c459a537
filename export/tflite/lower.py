"""Every node of the graph through its rule, each operand in the form that the layout gives it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from edgewright.errors import Error, UnsupportedOps
from edgewright.export.lowering import attributes
from edgewright.export.tflite.builder import Builder
from edgewright.export.tflite.layout import ORIGINAL, Form, Layout, Shape, convert, is_constant, shape_of
from edgewright.export.tflite.node_builder import NodeBuilder
from edgewright.export.tflite.quantization import Int8
from edgewright.export.tflite.rules import TFLITE
from edgewright.export.tflite.tensor import Tensor

if TYPE_CHECKING:
    import onnx_ir as ir

DTYPES = frozenset({"FLOAT", "INT32", "INT64", "INT8", "UINT8", "BOOL"})
"""Element types that TFLite's kernels compute with."""

BYTES = frozenset({
    *("Cast", "Reshape", "Transpose", "Identity", "QuantizeLinear", "DequantizeLinear", "Flatten", "Squeeze"),
    *("Unsqueeze", "Concat", "Split", "Slice", "Gather", "GatherElements", "GatherND", "Tile", "Expand"),
})  # fmt: skip
"""Operators that take bytes that are no codes, as images come; TFLite's arithmetic would take them for such."""


class GraphLowering:
    """Tensors of the file by ONNX value, filled as the nodes are lowered in order."""

    def __init__(self, builder: Builder, layout: Layout, int8: Int8, activations: Mapping["ir.Node", str]) -> None:
        self._builder = builder
        self._layout = layout
        self._int8 = int8
        self._activations = activations
        self._made: dict[ir.Value, Tensor] = {}
        self._read: dict[tuple[ir.Value, Form, Shape], Tensor] = {}
        self._refused: dict[str, list[tuple[str, list[str]]]] = {}

    def enter(self, value: "ir.Value") -> Tensor:
        """An input of the graph."""
        self._made[value] = self._new(value)
        return self._made[value]

    def inline(self, builder: Builder, graph: "ir.Graph", operands: Sequence[Tensor]) -> list[Tensor]:
        """Write an inner graph by `builder`; its inputs are `operands`. What it gives are tensors of their own."""
        inner = GraphLowering(builder, Layout(graph, TFLITE.rules(), {}), self._int8, self._activations)
        inner._made.update(zip(graph.inputs, operands, strict=True))
        inner.lower(list(graph))
        outputs: list[Tensor] = []
        for value in graph.outputs:
            outputs.append(inner.leave(value, ORIGINAL, {*operands, *outputs}))
        return outputs

    def lower(self, nodes: Sequence["ir.Node"]) -> None:
        """All nodes. Raises one UnsupportedOps with every case that a rule refuses."""
        for node in nodes:
            if self._refused and not all(v is None or is_constant(v) or v in self._made for v in node.inputs):
                continue  # it reads what a refused node should have made
            try:
                self._lower(node)
            except UnsupportedOps as refusal:
                for op, case in refusal.missing.items():
                    self._refused.setdefault(op, []).append(case)
        if self._refused:
            raise UnsupportedOps(TFLITE.target, {op: _merged(cases) for op, cases in self._refused.items()})

    def leave(self, value: "ir.Value", form: Form, taken: set[Tensor]) -> Tensor:
        """An output of the graph in the form asked for: a tensor of its own, never an input or a constant."""
        tensor = self._in_form(value, form, shape_of(value))
        if tensor in taken or not self._builder.produced(tensor):
            return self._builder.copy(tensor, f"{value.name}/copy")
        return tensor

    def _lower(self, node: "ir.Node") -> None:
        outputs = [output for output in node.outputs if output.name]
        self._made.update((output, self._new(output)) for output in outputs)
        rule = TFLITE.rules()[node.op_type]
        if any(self._is_bare_byte(value) for value in (*node.inputs, *outputs)) and node.op_type not in BYTES:
            reason = "bytes that are not quantized; cast them to int32 or float32"
            raise UnsupportedOps(TFLITE.target, {node.op_type: (reason, [node.name or node.op_type])})
        operands = [self._operand(node, index) for index in range(len(node.inputs))]
        first = node.inputs[0] if node.inputs else None
        read_form = (self._layout.read(node, 0) if first is not None else None) or ORIGINAL
        b = NodeBuilder(
            self._builder,
            node.op_type,
            node.name or node.op_type,
            [self._made[output] for output in outputs],
            len(shape_of(first)) if first is not None else 0,
            (read_form, self._layout.made(outputs[0])),
            self._activations.get(node, "NONE"),
            self.inline,
        )
        result = rule.function(b, *operands, **attributes(node))
        if not b.activation_used:
            raise Error(f"{rule.owner} lost the fused activation of {b.name}")
        for output, tensor in zip(outputs, [result] if isinstance(result, Tensor) else result, strict=True):
            wanted = self._made[output]
            if wanted.quantization is not None and not wanted.quantization.same(tensor.quantization):
                raise Error(f"{output.name}: {b.op_type} passes its input on, so it needs the scale of its input")
            self._made[output] = tensor

    def _is_bare_byte(self, value: "ir.Value | None") -> bool:
        typed = value is not None and value.dtype is not None and value.dtype.name in ("UINT8", "INT8")
        return typed and value not in self._int8.quantization

    def _new(self, value: "ir.Value") -> Tensor:
        shape = self._layout.made(value).shape(shape_of(value))
        assert value.dtype is not None
        if value.dtype.name not in DTYPES:
            producer = value.producer()
            op, name = (producer.op_type, producer.name) if producer is not None else ("input", value.name)
            raise UnsupportedOps(
                TFLITE.target,
                {op: (f"element type {value.dtype.name}", [name or op])},
            )
        return self._builder.tensor(value.name or "", shape, value.dtype.numpy(), self._int8.quantization.get(value))

    def _operand(self, node: "ir.Node", index: int) -> Tensor | None:
        value = node.inputs[index]
        if value is None:
            return None
        form = self._layout.read(node, index) or ORIGINAL
        shape = shape_of(value)
        if form != ORIGINAL and TFLITE.rules()[node.op_type].layout == "any":
            shape = (1,) * (len(shape_of(node.outputs[0])) - len(shape)) + shape  # broadcasting aligns to the right
        return self._in_form(value, form, shape)

    def _in_form(self, value: "ir.Value", form: Form, shape: Shape) -> Tensor:
        key = (value, form, shape)
        if key not in self._read:
            self._read[key] = self._constant(*key) if is_constant(value) else self._converted(*key)
        return self._read[key]

    def _constant(self, value: "ir.Value", form: Form, shape: Shape) -> Tensor:
        assert value.const_value is not None
        array = form.array(value.const_value.numpy().reshape(shape))
        quantization = self._int8.quantization.get(value)
        if quantization is not None and quantization.scale.size > 1 and form != ORIGINAL:
            raise Error(f"{value.name}: an operand quantized per channel must be a weight")
        return self._builder.constant(array, value.name or "", quantization)

    def _converted(self, value: "ir.Value", form: Form, shape: Shape) -> Tensor:
        held = self._layout.made(value)
        tensor = self._made[value]
        if shape != shape_of(value):
            tensor = self._builder.reshape(convert(self._builder, tensor, shape_of(value), held, ORIGINAL), shape)
            held = ORIGINAL
        return convert(self._builder, tensor, shape, held, form)


def _merged(cases: Sequence[tuple[str, list[str]]]) -> tuple[str, list[str]]:
    reasons = sorted({reason for reason, _ in cases})
    return "; ".join(reasons), [name for _, names in cases for name in names]
