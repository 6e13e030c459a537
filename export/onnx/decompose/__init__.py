"""ONNX → ONNX: operators that a target lacks, spelled out in ones that it has.

An expansion is registered like the rule of a backend, and its signature is the schema of the operator just so:

    @EXPANSIONS.lower("ThresholdedRelu")
    def thresholded_relu(op, x, *, alpha=1.0): return op("Where", op("Greater", x, op.like(alpha, x)), x, op.like(0, x))

Where there is none here, the one that onnx gives with the operator (its function body) serves.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgewright.export.lowering import Lowerings, attributes
from edgewright.export.onnx.graph import add_initializer, nodes_of

if TYPE_CHECKING:
    import onnx_ir as ir

EXPANSIONS = Lowerings("decompose", "edgewright.export.onnx.decompose")

ROUNDS = 8  # an expansion may use operators that are expanded in turn


class Op:
    """Writes the nodes of one expansion: `op("Add", a, b)` gives the value made, or the values with `outputs=n`."""

    def __init__(self, node: "ir.Node") -> None:
        assert node.graph is not None
        self.node = node
        self.made: list[ir.Node] = []
        self._graph: ir.Graph = node.graph

    def __call__(self, op_type: str, *inputs: "ir.Value | None", outputs: int = 1, **given: Any) -> Any:
        import onnx_ir as ir

        made = ir.node(
            op_type, inputs, attributes={k: v for k, v in given.items() if v is not None}, num_outputs=outputs
        )
        made.name = f"{self.node.name or self.node.op_type}/{op_type}_{len(self.made)}"
        for number, value in enumerate(made.outputs):
            value.name = f"{self.node.outputs[0].name}/{op_type}_{len(self.made)}_{number}"
        self.made.append(made)
        return made.outputs[0] if outputs == 1 else tuple(made.outputs)

    def constant(self, array: NDArray[Any]) -> "ir.Value":
        return add_initializer(self._graph, f"{self.node.outputs[0].name}/constant", np.asarray(array))

    def like(self, number: float, value: "ir.Value") -> "ir.Value":
        """A constant of rank 0 with the element type of `value`."""
        assert value.dtype is not None
        return self.constant(np.array(number, value.dtype.numpy()))

    def integers(self, *values: int) -> "ir.Value":
        """int64 [n]: axes, sizes, pads."""
        return self.constant(np.array(values, np.int64))


def decompose(model: "ir.Model", takes: "Callable[[ir.Node], bool]") -> int:
    """Expand, in place, every node that the target does not take as it is; gives how many were.

    What has no expansion stays: the target's check of coverage names it. An expansion that cannot serve (a case it
    does not cover) gives None, and the node stays too.
    """
    count = 0
    for _ in range(ROUNDS):
        expanded = _expand_ours(model, takes) + _expand_by_schema(model, takes)
        if not expanded:
            break
        _tidy(model)
        count += expanded
    return count


def _expand_ours(model: "ir.Model", takes: "Callable[[ir.Node], bool]") -> int:
    rules = EXPANSIONS.rules()
    wanted = [node for node in nodes_of(model) if node.op_type in rules and not takes(node)]
    return sum(_expand(node) for node in wanted)


def _expand(node: "ir.Node") -> bool:
    import onnx_ir as ir

    op = Op(node)
    result = EXPANSIONS.rules()[node.op_type].function(op, *node.inputs, **attributes(node))
    if result is None:
        return False
    made = [result] if isinstance(result, ir.Value) else list(result)
    old = list(node.outputs[: len(made)])
    assert node.graph is not None
    ir.convenience.replace_nodes_and_values(node.graph, node, [node], op.made, old, made)
    return True


def _expand_by_schema(model: "ir.Model", takes: "Callable[[ir.Node], bool]") -> int:
    """The function body that the schema of an operator carries, wherever it has one."""
    import onnx.defs
    import onnx.inliner
    import onnx_ir as ir

    def has_body(op_type: str) -> bool:
        schema: Any = onnx.defs.get_schema(op_type, model.opset_imports.get("", onnx.defs.onnx_opset_version()))
        return bool(schema.has_function or schema.has_context_dependent_function)

    known = {name for name in {node.op_type for node in nodes_of(model)} if onnx.defs.has(name) and has_body(name)}
    wanted = [n for n in nodes_of(model) if n.op_type in known - set(EXPANSIONS.rules()) and not takes(n)]
    names = sorted({node.op_type for node in wanted} - {n.op_type for n in nodes_of(model) if takes(n)})
    if not names:
        return 0
    inlined = onnx.inliner.inline_selected_functions(
        ir.to_proto(model), [("", name) for name in names], inline_schema_functions=True
    )
    before = len(model.graph)
    model.graph = ir.from_proto(inlined).graph
    left = sum(node.op_type in names for node in nodes_of(model))
    return 0 if len(model.graph) == before and left else len(wanted) - left


def _tidy(model: "ir.Model") -> None:
    """Shapes of the new values, constants folded; passes are imported late: they are in the folder beside."""
    from edgewright.export.onnx.passes.constants import lift_constants
    from edgewright.export.onnx.passes.dead_code import remove_dead_code
    from edgewright.export.onnx.passes.folding import fold_constants
    from edgewright.export.onnx.passes.shapes import infer_shapes

    lift_constants(model)
    infer_shapes(model)
    fold_constants(model)
    remove_dead_code(model)
    infer_shapes(model)
