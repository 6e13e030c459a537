"""The one int8 truth: every other int8 format is translated from the file made here."""

from pathlib import Path

from edgewright.errors import BadModel
from edgewright.export.onnx.file import contract_of, load_onnx, save_model
from edgewright.export.onnx.quantize.options import QuantizeOptions
from edgewright.export.onnx.quantize.truth import make_truth
from edgewright.export.steps import Job, Notes, step
from edgewright.runtimes.artifact import Artifact

HEAVY = ("Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN")
FORM_WHY = "the truth: Arm runs it as it is, x86 exactly with session.x64quantprecision=1; `convert --form` re-codes it"
NEEDS = {"onnx": "onnx", "onnx-ir": "onnx", "onnxscript": "onnx", "onnxruntime": "onnx"}


@step(source="onnx:float32", target="onnx:int8", needs=NEEDS, cost=2.0, options=QuantizeOptions, uses_data=True)
def quantize(source: Artifact, out: Path, job: Job, options: QuantizeOptions) -> Notes:
    """Calibrate on `job.calibration` and write Q/DQ pairs; choices are measured on `job.validation`.

    Raises BadModel when a convolution, matrix product or recurrent operator would run in float.
    """
    model = load_onnx(source.path)
    contract = contract_of(model)
    truth = make_truth(model, contract, job, options, "int8")
    _require_heavy(truth.notes)
    save_model(truth.quantized.model, contract, out)
    return truth.notes | {"form": "s8s8", "form_why": FORM_WHY}


def _require_heavy(notes: Notes) -> None:
    """An int8 file whose time goes into float operators would not be what it is called."""
    heavy = [row for row in notes["float_ops"] if row["op"] in HEAVY]
    if heavy:
        rows = "\n".join(f"  {row['op']} ({row['node']}): {row['why']}" for row in heavy)
        raise BadModel(
            f"as int8, heavy operators of this model would run in float; ask for `mixed` or `int8-weights`:\n{rows}"
        )
