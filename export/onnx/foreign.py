"""ONNX files that others made: brought into the clean form, with the contract that their graph states."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from edgewright.export.onnx.file import contract_of, forget_weights, load_onnx, save_model
from edgewright.export.onnx.opening import simplify_open
from edgewright.export.onnx.passes.batch import InputShape, fix_lengths
from edgewright.export.onnx.passes.corners import align_by_lengths
from edgewright.export.onnx.passes.singles import compute_in_float32, with_types_of
from edgewright.export.onnx.preprocess import preprocess_onnx
from edgewright.export.onnx.simplify import simplify
from edgewright.export.steps import Notes
from edgewright.runtimes.module.preprocess import Preprocess

AS_GIVEN: Mapping[str, InputShape] = MappingProxyType({})


def import_onnx(path: Path, out: Path, shapes: Mapping[str, InputShape] = AS_GIVEN) -> Notes:
    """Write the clean form of a foreign ONNX file; an open batch length becomes 1, as the notes say.

    It computes in float32; an input or output of float16 or float64 keeps that type in the contract.
    `shapes` fix other lengths, or keep some open, as the contract says then. Raises BadModel when the file cannot be
    read or simplified, or depends on a length that shall be open; BadInput when a length is not known.
    """
    model = load_onnx(path)
    imported_opset = model.opset_imports.get("")
    given = contract_of(model)
    widened = compute_in_float32(model)
    fixed = fix_lengths(model, shapes)
    opened = {name: shape for name, shape in shapes.items() if shape.open_axes}
    model, counts = simplify_open(model, opened) if opened else simplify(model)
    if not opened:
        counts |= {align_by_lengths.__name__: align_by_lengths(model)}
    counts |= {compute_in_float32.__name__: widened}
    save_model(model, with_types_of(contract_of(model), given), out)
    forget_weights(model)
    return {"imported_opset": imported_opset, "batch_fixed_to_1": fixed, "passes": counts, "nodes": len(model.graph)}


def start_onnx(
    path: Path, out: Path, shapes: Mapping[str, InputShape] = AS_GIVEN, preprocess: Preprocess | None = None
) -> Notes:
    """Write a foreign ONNX file with these lengths of its inputs, and preprocessing in front, and as it is otherwise.

    It runs on samples of that shape. Raises BadModel and BadInput as `import_onnx` and `preprocess_onnx` do.
    """
    source = path
    if shapes:
        _fix_inputs(path, out, shapes)
        source = out
    notes = {} if preprocess is None else preprocess_onnx(source, out, preprocess)
    return notes | {"shapes": {name: str(shape) for name, shape in shapes.items()}}


def _fix_inputs(path: Path, out: Path, shapes: Mapping[str, InputShape]) -> None:
    import onnx_ir as ir

    model = load_onnx(path)
    before = {output: output.shape for node in model.graph.all_nodes() for output in node.outputs}
    fix_lengths(model, shapes)
    for output, shape in before.items():
        output.shape = shape
    ir.save(model, out)
