"""Rows that are counted when the file runs: the graph is lowered with two numbers of them, and written for any."""

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgewright.errors import BadModel, UnsupportedOps
from edgewright.export.onnx.counted import COUNTING, counted, counting_nodes, followers
from edgewright.export.onnx.graph import constant, shape_of
from edgewright.export.onnx.opening import ADVICE as FIX_LENGTHS
from edgewright.export.onnx.opening import Trial
from edgewright.export.onnx.passes.shapes import infer_shapes
from edgewright.runtimes.contract import Contract

if TYPE_CHECKING:
    import onnx_ir as ir

ADVICE = "how many boxes NonMaxSuppression keeps is known only when the file runs: do this step in the app"

TAKE_ANY_NUMBER = frozenset({
    *("Cast", "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Concat", "Slice"),
    *("Gather", "GatherND", "Add", "Sub", "Mul", "Div", "Neg", "Abs", "Min", "Max", "Clip", "Relu", "Sigmoid", "Exp"),
    *("Sqrt", "Floor", "Ceil", "Round", "Where", "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Not"),
    *("And", "Or"),
})  # fmt: skip
"""Operators whose TFLite forms are right for any number of rows, none too."""

FEW = 2
"""Rows of the first lowering: an axis of one would be taken for another kind. The second has more than there can be."""


def with_counts(model: "ir.Model", contract: Contract) -> "tuple[tuple[ir.Model, ...], tuple[Trial, ...]]":
    """Two copies of a model with two numbers of rows, and these.

    Raises UnsupportedOps naming what follows that needs the number ahead, BadModel when a shape depends on more.
    """
    if any(info.open_axes for info in contract.inputs):
        names = [node.name or COUNTING for node in counting_nodes(model.graph)]
        raise UnsupportedOps("tflite", {COUNTING: (f"it comes after an open length; {FIX_LENGTHS}", names)})
    _check_followers(model.graph)
    trials = tuple(Trial(1, FEW, FEW + _most_rows(node), ADVICE) for node in counting_nodes(model.graph))
    copies = model.clone(), model.clone()
    for copy, rows in zip(copies, ([trial.first for trial in trials], [trial.second for trial in trials]), strict=True):
        _set_rows(copy, rows)
    _check_slices(*copies)
    return copies, trials


def _check_followers(graph: "ir.Graph") -> None:
    missing: dict[str, list[str]] = defaultdict(list)
    for node in followers(graph):
        if node.op_type not in TAKE_ANY_NUMBER:
            missing[node.op_type].append(node.name or node.op_type)
    if missing:
        raise UnsupportedOps("tflite", {op: (ADVICE, names) for op, names in missing.items()})


def _check_slices(few: "ir.Model", many: "ir.Model") -> None:
    """Of rows only the first k are cut, which may be fewer: what is cut from further on need not be there."""
    pairs = zip(followers(few.graph), followers(many.graph), strict=True)
    odd = [node.name or "" for node, other in pairs if node.op_type == "Slice" and not _keeps_first(node, other)]
    if odd:
        raise UnsupportedOps("tflite", {"Slice": (f"of rows other than the first {FEW + 1} or more; {ADVICE}", odd)})


def _keeps_first(node: "ir.Node", other: "ir.Node") -> bool:
    starts, ends, axes, steps = (constant(node, index) for index in range(1, 5))
    short, long = shape_of(node.inputs[0]), shape_of(other.inputs[0])
    if starts is None or ends is None or short is None or long is None:
        return False
    where = range(len(starts)) if axes is None else axes.tolist()
    cut = [k for k, axis in enumerate(where) if short[axis] != long[axis]]
    return all(starts[k] == 0 and ends[k] > FEW and (steps is None or steps[k] == 1) for k in cut)


def _most_rows(node: "ir.Node") -> int:
    """How many rows a NonMaxSuppression can give."""
    boxes, scores = (shape_of(value) for value in node.inputs[:2])
    if boxes is None or scores is None:
        raise BadModel(f"{node.name}: TFLite needs fixed shapes; unknown for its boxes or scores")
    most = constant(node, 2)
    of_class = boxes[1] if most is None else min(int(most.item()), boxes[1])
    return max(boxes[0] * scores[1] * of_class, 1)


def _set_rows(model: "ir.Model", rows: Sequence[int]) -> None:
    import onnx_ir as ir

    for value in counted(model.graph):
        value.shape = None
    for node, number in zip(counting_nodes(model.graph), rows, strict=True):
        node.outputs[0].shape = ir.Shape((number, 3))
    infer_shapes(model)
