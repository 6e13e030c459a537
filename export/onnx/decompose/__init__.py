"""ONNX → ONNX: operators that a target lacks, spelled out in ones that it has.

An expansion is registered like the rule of a backend, and its signature is the schema of the operator just so:

    @EXPANSIONS.lower("ThresholdedRelu")
    def thresholded_relu(op, x, *, alpha=1.0): return op("Where", op("Greater", x, op.like(alpha, x)), x, op.like(0, x))

Where there is none here, the one that onnx gives with the operator (its function body) serves.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgewright.export.lowering import INTERNAL_OPSET, Lowerings, attributes
from edgewright.export.onnx.bodies import inline_bodies
from edgewright.export.onnx.graph import add_initializer

if TYPE_CHECKING:
    import onnx_ir as ir

EXPANSIONS = Lowerings("decompose", "edgewright.export.onnx.decompose")

ROUNDS = 8  # an expansion may use operators that are expanded in turn


class Op:
    """Writes the nodes of one expansion: `op("Add", a, b)` gives the value made, or the values with `outputs=n`."""

    def __init__(self, node: "ir.Node") -> None:
        assert node.graph is not None
        self.node = node
        self.base = next(str(output.name) for output in node.outputs if output.name)
        self.made: list[ir.Node] = []
        self._graph: ir.Graph = node.graph

    def __call__(self, op_type: str, *inputs: "ir.Value | None", outputs: int = 1, **given: Any) -> Any:
        import onnx_ir as ir

        made = ir.node(
            op_type, inputs, attributes={k: v for k, v in given.items() if v is not None}, num_outputs=outputs
        )
        made.name = f"{self.node.name or self.node.op_type}/{op_type}_{len(self.made)}"
        for number, value in enumerate(made.outputs):
            value.name = f"{self.base}/{op_type}_{len(self.made)}_{number}"
        self.made.append(made)
        return made.outputs[0] if outputs == 1 else tuple(made.outputs)

    def constant(self, array: NDArray[Any]) -> "ir.Value":
        return add_initializer(self._graph, f"{self.base}/constant", np.asarray(array))

    def like(self, number: float, value: "ir.Value") -> "ir.Value":
        """A constant of rank 0 with the element type of `value`, which is one of the node's own."""
        assert value.dtype is not None
        return self.constant(np.array(number, value.dtype.numpy()))

    def integers(self, *values: int) -> "ir.Value":
        """int64 [n]: axes, sizes, pads."""
        return self.constant(np.array(values, np.int64))

    def cast(self, value: "ir.Value", kind: "ir.DataType") -> "ir.Value":
        """`value` with another element type; a constant is cast now."""
        if value.const_value is not None and kind.numpy() != np.bool_:
            return self.constant(value.const_value.numpy().astype(kind.numpy()))
        made: ir.Value = self("Cast", value, to=int(kind))
        return made

    def reshape(self, value: "ir.Value", shape: Sequence[int]) -> "ir.Value":
        made: ir.Value = self("Reshape", value, self.integers(*shape))
        return made

    def sum(self, values: "Sequence[ir.Value]") -> "ir.Value":
        """Pairwise, left to right."""
        total = values[0]
        for value in values[1:]:
            total = self("Add", total, value)
        return total


def decompose(model: "ir.Model", takes: "Callable[[ir.Node], bool]") -> int:
    """Expand, in place, every node that the target does not take as it is; gives how many were.

    What has no expansion stays: the target's check of coverage names it. An expansion that cannot serve (a case it
    does not cover) gives None, and the node stays too.
    """
    count = 0
    for _ in range(ROUNDS):
        wanted = [node for node in standard_nodes(model) if not takes(node)]
        ours = [node for node in wanted if node.op_type in EXPANSIONS.rules()]  # readers first: they see stored codes
        theirs = [node for node in wanted if node.op_type not in EXPANSIONS.rules()]
        expanded = sum(expand(node) for node in reversed(ours)) + inline_bodies(model, theirs, INTERNAL_OPSET)
        if not expanded:
            break
        tidy(model)
        count += expanded
    return count


def standard_nodes(model: "ir.Model") -> "list[ir.Node]":
    """The nodes with operators of onnx, also those of inner graphs."""
    return [node for node in model.graph.all_nodes() if node.domain in ("", "ai.onnx")]


def expand(node: "ir.Node") -> bool:
    """Put the expansion registered here in the node's place, if there is one and it serves."""
    import onnx_ir as ir

    rule = EXPANSIONS.rules().get(node.op_type)
    op = Op(node)
    result = None if rule is None else rule.function(op, *node.inputs, **attributes(node))
    if result is None:
        return False
    given = [result] if isinstance(result, ir.Value) else list(result)
    old = [output for output, value in zip(node.outputs, given) if value is not None]  # None: nobody reads it
    made = [v if v.producer() in op.made else op("Identity", v) for v in given[: len(node.outputs)] if v is not None]
    assert node.graph is not None
    ir.convenience.replace_nodes_and_values(node.graph, node, [node], op.made, old, made)
    return True


def tidy(model: "ir.Model") -> None:
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
