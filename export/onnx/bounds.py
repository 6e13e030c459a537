"""Cuts of an open axis at a place that no trial reaches: x[:300] would be the whole of every length that was tried."""

from typing import TYPE_CHECKING

from edgewright.errors import BadModel
from edgewright.export.onnx.graph import constant, shape_of
from edgewright.export.onnx.passes.constants import lift_constants
from edgewright.export.onnx.passes.folding import fold_constants
from edgewright.export.onnx.passes.inline import inline_functions
from edgewright.export.onnx.passes.shapes import infer_shapes
from edgewright.export.onnx.passes.upgrade import upgrade_opset
from edgewright.export.onnx.quiet import quiet

if TYPE_CHECKING:
    import onnx_ir as ir

ENDLESS = 2**31 - 1
"""From here on exporters mean the end, wherever it is."""


def require_bounds_within(first: "ir.Model", second: "ir.Model") -> None:
    """Raises BadModel naming each Slice of an open axis with a constant bound beyond its length in the second model.

    Both are one graph at two lengths; their constants are folded on the way.
    """
    cuts = [_cuts(model) for model in (first, second)]
    rows = [
        f"  {name or '(no name)'} (Slice): {bound} on axis {axis}, which was {length} at the most"
        for name, cut in cuts[1].items()
        if name in cuts[0]
        for bound, axis, length in _beyond(cuts[0][name], cut)
    ]
    if rows:
        raise BadModel(
            "a Slice that ends beyond the lengths tried for an open axis does not show; give that axis a fixed length "
            "in --shape:\n" + "\n".join(rows)
        )


def _cuts(model: "ir.Model") -> "dict[str, ir.Node]":
    """Every Slice, by what it gives, once its bounds are constants."""
    with quiet("onnx_ir", "onnxscript"):
        for each in (inline_functions, upgrade_opset, lift_constants, infer_shapes, fold_constants, infer_shapes):
            each(model)
    return {str(node.outputs[0].name): node for node in model.graph.all_nodes() if node.op_type == "Slice"}


def _beyond(first: "ir.Node", second: "ir.Node") -> list[tuple[int, int, int]]:
    """(bound, axis, length) of each bound of a Slice that its open axis does not reach."""
    before, after = shape_of(first.inputs[0]), shape_of(second.inputs[0])
    if before is None or after is None:
        return []
    found: list[tuple[int, int, int]] = []
    for place in (1, 2):
        bounds, axes = constant(second, place), constant(second, 3)
        pairs = [] if bounds is None else zip(bounds.ravel(), range(bounds.size) if axes is None else axes.ravel())
        found += [
            (int(bound), int(axis) % len(after), after[axis])
            for bound, axis in pairs
            if before[axis] != after[axis] and after[axis] < abs(int(bound)) < ENDLESS
        ]
    return found
