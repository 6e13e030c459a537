"""The one int8 truth: every other int8 format is translated from the file made here."""

from pathlib import Path

from edgewright.export.onnx.file import contract_of, load_onnx, save_model
from edgewright.export.onnx.quantize.options import QuantizeOptions
from edgewright.export.onnx.quantize.truth import make_truth
from edgewright.export.steps import Job, Notes, step
from edgewright.runtimes.artifact import Artifact

NEEDS = {"onnx": "onnx", "onnx-ir": "onnx", "onnxscript": "onnx", "onnxruntime": "onnx"}


@step(source="onnx:float32", target="onnx:int8", needs=NEEDS, cost=2.0, options=QuantizeOptions, uses_data=True)
def quantize(source: Artifact, out: Path, job: Job, options: QuantizeOptions) -> Notes:
    """Calibrate on `job.calibration` and write Q/DQ pairs; choices are measured on `job.validation`."""
    model = load_onnx(source.path)
    contract = contract_of(model)
    truth = make_truth(model, contract, job, options, str(source.path))
    save_model(truth.quantized.model, contract, out)
    return truth.notes
