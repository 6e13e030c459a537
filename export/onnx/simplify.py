"""The clean float graph: one ordered list of passes, run to the end."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from edgewright.errors import BadModel
from edgewright.export.onnx.passes.activations import unify_activations
from edgewright.export.onnx.passes.batchnorm import fold_batchnorm
from edgewright.export.onnx.passes.composites import fuse_composites
from edgewright.export.onnx.passes.constants import lift_constants
from edgewright.export.onnx.passes.control_flow import fold_control_flow
from edgewright.export.onnx.passes.dead_code import remove_dead_code
from edgewright.export.onnx.passes.folding import fold_constants
from edgewright.export.onnx.passes.inline import inline_functions
from edgewright.export.onnx.passes.last_step import read_last_state
from edgewright.export.onnx.passes.linear import unify_linear
from edgewright.export.onnx.passes.names import tidy_names
from edgewright.export.onnx.passes.no_ops import remove_no_ops
from edgewright.export.onnx.passes.padding import fuse_padding
from edgewright.export.onnx.passes.pooling import pool_globally
from edgewright.export.onnx.passes.reshapes import merge_reshapes
from edgewright.export.onnx.passes.shapes import infer_shapes, require_static
from edgewright.export.onnx.passes.sharing import share_initializers
from edgewright.export.onnx.passes.spelling import spell_out
from edgewright.export.onnx.passes.transposes import merge_transposes
from edgewright.export.onnx.passes.upgrade import upgrade_opset
from edgewright.export.onnx.passes.windows import place_windows
from edgewright.export.onnx.quiet import quiet

if TYPE_CHECKING:
    import onnx_ir as ir

PASSES: tuple[Callable[["ir.Model"], int], ...] = (
    inline_functions,  # one flat graph
    upgrade_opset,  # at one opset
    lift_constants,  # with constants as initializers
    infer_shapes,
    place_windows,  # corrects shapes
    fold_constants,  # shapes first: folding a Shape needs them
    fold_control_flow,  # its conditions and numbers of steps are constants now
    infer_shapes,
    place_windows,  # where folding gave the shape
    spell_out,  # whose parts are simplified in turn
    remove_no_ops,
    merge_transposes,
    fuse_padding,  # before BN: Pad → Conv → BatchNormalization
    unify_linear,  # before BN: MatMul → Add → BatchNormalization
    fold_batchnorm,
    unify_activations,
    fuse_composites,
    pool_globally,
    read_last_state,
    merge_reshapes,  # after pooling, which leaves Unsqueeze → Squeeze
    remove_dead_code,
    share_initializers,  # after folding into weights, which refuses shared ones
    infer_shapes,
    require_static,
    tidy_names,
)


def simplify(model: "ir.Model") -> tuple["ir.Model", dict[str, int]]:
    """Bring a model into the clean form, in place; also gives how many changes each pass made.

    Raises BadModel when the model has no form at the internal opset, or a tensor has no static shape.
    """
    import onnx.checker
    from onnx_ir.passes.common import CheckerPass

    names = _io_names(model)
    counts: dict[str, int] = {}
    with quiet("onnx_ir", "onnxscript"):  # what they cannot infer, `require_static` names
        for simplification in PASSES:
            name = simplification.__name__
            counts[name] = counts.get(name, 0) + simplification(model)
    try:
        CheckerPass()(model)
    except onnx.checker.ValidationError as error:
        raise BadModel(f"the simplified model is invalid: {error}") from error
    if _io_names(model) != names:
        raise BadModel(f"simplifying renamed the inputs or outputs {names} to {_io_names(model)}")
    return model, counts


def _io_names(model: "ir.Model") -> list[str | None]:
    inputs = [value for value in model.graph.inputs if value.name not in model.graph.initializers]
    return [value.name for value in (*inputs, *model.graph.outputs)]
