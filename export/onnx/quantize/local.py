"""One graph that holds a float model and, beside each operator, the same operator on the grids of its int8 truth."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgewright.errors import BadInput
from edgewright.export.onnx.graph import add_initializer
from edgewright.export.onnx.quantize.plan import INT8_OPS

if TYPE_CHECKING:
    import onnx_ir as ir

WRAPPING = ("QuantizeLinear", "DequantizeLinear")
BESIDE = "int8/"  # before the names of what the truth brings in


@dataclass(frozen=True)
class Branch:
    """An operator of the truth: `tensor` names its output in the float model, `truth` where the truth holds it.

    `local` is its quantized output in the merged graph, computed from the float model's values; None where the truth
    does not quantize it. `reads` names the float tensors behind its inputs.
    """

    op: str
    node: str
    tensor: str
    truth: str
    local: str | None
    reads: tuple[str, ...]
    int8: bool


@dataclass(frozen=True)
class Merged:
    """The float model with the branches beside it; they come in the truth's order."""

    model: "ir.Model"
    branches: tuple[Branch, ...]


def merge(floating: "ir.Model", truth: "ir.Model") -> Merged:
    """x → Op → y of the float model gets beside it x → Q → DQ → Op → Q → DQ → `int8/y`, all on the truth's grids.

    Both stay as they are. Raises BadInput when the two do not share the names of their tensors.
    """
    merger = _Merger(floating.clone())
    for node in truth.graph:
        merger.take(node)
    if not merger.branches:
        raise BadInput("no tensor of the int8 model is in the float model by name: give the clean float file it is of")
    return Merged(merger.model, tuple(merger.branches))


def only(merged: Merged, branch: Branch) -> "ir.Model":
    """The float model in which this operator alone is quantized."""
    import onnx_ir as ir

    from edgewright.export.onnx.passes.dead_code import remove_dead_code

    model = merged.model.clone()
    values = _values(model.graph)
    source, quantized = values[branch.tensor], values[str(branch.local)]
    readers = [(node, index) for node, index in source.uses() if not str(node.name).startswith(BESIDE)]
    for node, index in readers:
        node.replace_input_with(index, quantized)
    for index, output in enumerate(model.graph.outputs):
        if output is source:
            source.name, quantized.name = f"{source.name}/exact", source.name
            model.graph.outputs[index] = quantized
            quantized.dtype, quantized.shape = ir.DataType.FLOAT, source.shape
    model.graph.sort()
    remove_dead_code(model)
    return model


class _Merger:
    """Copies the truth's nodes into the float graph, each reading the float model's values through their grids."""

    def __init__(self, model: "ir.Model") -> None:
        self.model = model
        self.branches: list[Branch] = []
        self._floats = _values(model.graph)
        self._copies: dict[ir.Value, ir.Value] = {}
        self._named: dict[ir.Value, str] = {}  # a value of the truth → the float tensor that it stands for

    def take(self, node: "ir.Node") -> None:
        """Copy one node; where it closes a pair, note the branch and let readers read the float value's own pair."""
        copy = self._copy(node, [self._copied(value) for value in node.inputs])
        for output, twin in zip(node.outputs, copy.outputs, strict=True):
            self._copies[output] = twin
            if str(output.name) in self._floats:
                self._named[output] = str(output.name)
        quantize = node.inputs[0].producer() if node.op_type == "DequantizeLinear" and node.inputs[0] else None
        if quantize is None:
            self._note_float(node)
        elif quantize.inputs[0] is not None:
            self._close(node, quantize, copy)

    def _close(self, dequantize: "ir.Node", quantize: "ir.Node", copy: "ir.Node") -> None:
        raw, real = quantize.inputs[0], dequantize.outputs[0]
        names = [str(value.name) for value in (real, raw) if value is not None]
        tensor = next((name for name in names if name in self._floats), None)
        if tensor is None or raw is None:
            return
        self._named[real] = tensor
        again = [self._floats[tensor], *map(self._copied, quantize.inputs[1:])]
        codes = self._copy(quantize, again, "/fed")
        fed = self._copy(dequantize, [codes.outputs[0], *map(self._copied, dequantize.inputs[1:])], "/fed")
        self._copies[real] = fed.outputs[0]
        self._note(raw.producer(), tensor, str(real.name), str(copy.outputs[0].name))

    def _note_float(self, node: "ir.Node") -> None:
        """An operator whose output no pair quantizes."""
        output = node.outputs[0]
        if node.op_type in WRAPPING or output not in self._named:
            return
        if not any(user.op_type == "QuantizeLinear" for user in output.consumers()):
            self._note(node, self._named[output], str(output.name), None)

    def _note(self, node: "ir.Node | None", tensor: str, truth: str, local: str | None) -> None:
        values = [] if node is None else [value for value in node.inputs if value is not None]
        reads = tuple(dict.fromkeys(self._named[value] for value in values if value in self._named))
        int8 = local is not None and node is not None and node.op_type in INT8_OPS and _from_integers(values[0])
        op, name = ("Input", tensor) if node is None else (node.op_type, str(node.name))
        self.branches.append(Branch(op, name, tensor, truth, local, reads, int8))

    def _copied(self, value: "ir.Value | None") -> "ir.Value | None":
        if value is None:
            return None
        if value not in self._copies:
            if value.const_value is not None:
                name = f"{BESIDE}{value.name}"
                self._copies[value] = add_initializer(self.model.graph, name, value.const_value.numpy())
            else:
                self._copies[value] = self._floats[str(value.name)]
        return self._copies[value]

    def _copy(self, node: "ir.Node", inputs: "list[ir.Value | None]", suffix: str = "") -> "ir.Node":
        import onnx_ir as ir

        copy = ir.node(
            node.op_type,
            inputs,
            attributes=dict(node.attributes.items()),
            num_outputs=len(node.outputs),
            name=f"{BESIDE}{node.name}{suffix}",
        )
        for output, twin in zip(node.outputs, copy.outputs, strict=True):
            twin.name = f"{BESIDE}{output.name}{suffix}" if output.name else ""
            twin.type, twin.shape = output.type, output.shape
        self.model.graph.append(copy)
        return copy


def _from_integers(value: "ir.Value") -> bool:
    """Whether it comes out of a DequantizeLinear; through a fused producer too (Conv → Clip → Q)."""
    node = value.producer()
    if node is not None and node.op_type not in WRAPPING and node.inputs[0] is not None:
        above = node.inputs[0].producer()
        return above is not None and above.op_type == "DequantizeLinear"
    return node is not None and node.op_type == "DequantizeLinear"


def _values(graph: "ir.Graph") -> "dict[str, ir.Value]":
    made = [output for node in graph for output in node.outputs]
    return {str(value.name): value for value in (*graph.inputs, *made) if value.name}
