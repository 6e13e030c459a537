"""Foreign files with an open batch get a batch of one."""

from typing import TYPE_CHECKING

from edgewright.errors import BadInput

if TYPE_CHECKING:
    import onnx_ir as ir


def fix_batch(model: "ir.Model") -> list[str]:
    """Set an open first length of each input to 1, in place; gives their names. Raises BadInput on other open ones."""
    import onnx_ir as ir

    problems, fixed = [], []
    inputs = [value for value in model.graph.inputs if value.name not in model.graph.initializers]
    for value in inputs:
        if value.shape is None:
            problems.append(f"{value.name!r} has no shape")
            continue
        dims = list(value.shape)
        problems += [
            f"{value.name!r} has an open length {str(n) if n.value else '?'!r} at axis {axis}"
            for axis, n in enumerate(dims)
            if axis and isinstance(n, ir.SymbolicDim)
        ]
        if dims and isinstance(dims[0], ir.SymbolicDim):
            value.shape = ir.Shape([1, *dims[1:]])
            fixed.append(str(value.name))
    if problems:
        raise BadInput("inputs must have fixed lengths (the batch may be open): " + "; ".join(problems))
    if fixed:
        _forget_shapes(model)
    return fixed


def _forget_shapes(model: "ir.Model") -> None:
    """Inner and output shapes may still name the old batch; shape inference finds them anew."""
    for node in model.graph.all_nodes():
        for output in node.outputs:
            output.shape = None
