"""ONNX files that others made: brought into the clean form, with the contract that their graph states."""

from pathlib import Path

from edgewright.export.onnx.file import contract_of, load_onnx, save_model
from edgewright.export.onnx.passes.batch import fix_batch
from edgewright.export.onnx.simplify import simplify
from edgewright.export.steps import Notes


def import_onnx(path: Path, out: Path) -> Notes:
    """Write the clean form of a foreign ONNX file; an open batch length becomes 1, as the notes say.

    Raises BadModel when it cannot be read or simplified, BadInput when a length other than the batch is open.
    """
    model = load_onnx(path)
    imported_opset = model.opset_imports.get("")
    fixed = fix_batch(model)
    model, counts = simplify(model)
    save_model(model, contract_of(model), out)
    return {"imported_opset": imported_opset, "batch_fixed_to_1": fixed, "passes": counts, "nodes": len(model.graph)}
