"""Every tensor knows its type and static shape."""

from typing import TYPE_CHECKING

from edgewright.errors import BadModel
from edgewright.export.onnx.counted import counted_names
from edgewright.export.onnx.graph import shape_of

if TYPE_CHECKING:
    import onnx_ir as ir


def infer_shapes(model: "ir.Model") -> int:
    """Conv(x[1,3,8,8]) → y becomes y[1,4,8,8]: how many tensors have got a static shape."""
    from onnx_ir.passes.common import ShapeInferencePass

    before = len(_unknown(model))
    infer = ShapeInferencePass(check_type=True, strict_mode=False, data_prop=True)
    infer(model)
    while _keep_shapes(model):
        infer(model)
    return before - len(_unknown(model))


def _keep_shapes(model: "ir.Model") -> int:
    """GroupNormalization gives the shape that it is given; onnx's inference is lost in its function body."""
    found = [
        (node.inputs[0], node.outputs[0])
        for node in model.graph.all_nodes()
        if node.op_type == "GroupNormalization" and shape_of(node.outputs[0]) is None
    ]
    known = [(x, y) for x, y in found if x is not None and shape_of(x) is not None]
    for x, y in known:
        y.shape, y.type = x.shape, x.type
    return len(known)


def require_static(model: "ir.Model") -> int:
    """Changes nothing. Raises BadModel naming every operator whose output is no tensor, or has no static shape, but for
    rows that NonMaxSuppression counts."""
    import onnx_ir as ir

    kinds = {node.op_type for node in model.graph} - {"ReverseSequence"}
    odd = sorted(kind for kind in kinds if "Sequence" in kind or "Optional" in kind)
    odd += [str(value.name) for value in model.graph.inputs if not isinstance(value.type, ir.TensorType)]
    if odd:
        raise BadModel(
            f"{', '.join(odd)}: sequences and optionals cannot be compiled ahead; use tensors of fixed shape"
        )
    counted = counted_names(model.graph)
    unknown = [entry for entry in _unknown(model) if entry[1] not in counted]
    if unknown:
        rows = "\n".join(f"  {op} {name!r} → {shape}" for op, name, shape in unknown[:20])
        more = f"\n  … and {len(unknown) - 20} more" if len(unknown) > 20 else ""
        raise BadModel(f"{len(unknown)} tensor(s) have no static shape; remove what depends on data:\n{rows}{more}")
    return 0


def _unknown(model: "ir.Model") -> list[tuple[str, str | None, str]]:
    return [
        (node.op_type, output.name, str(output.shape))
        for node in model.graph
        for output in node.outputs
        if output.name and (shape_of(output) is None or output.dtype is None)
    ]
