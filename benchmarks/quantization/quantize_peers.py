"""Other quantizers on the same float file and samples, each as its documentation has it."""

import importlib
from pathlib import Path
from typing import Literal

from edgewright.benchmarks.quantization.metrics import Array
from edgewright.benchmarks.quantization.runners import calls
from edgewright.data import Samples
from edgewright.runtimes.artifact import artifact_at
from edgewright.runtimes.litert import LiteRt
from edgewright.runtimes.ort import OnnxRuntime

Method = Literal["MinMax", "Entropy", "Percentile"]


def by_onnxruntime(model: Path, out: Path, samples: Samples, method: Method) -> None:
    """`quantize_static`: QDQ, int8 activations, int8 weights per channel."""
    from onnxruntime import quantization  # type: ignore[import-untyped]

    contract = OnnxRuntime().load(artifact_at(model)).contract
    remaining = calls(contract, samples)

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, Array] | None:
            return next(remaining, None)

    quantization.quantize_static(
        str(model), str(out), Reader(), quant_format=quantization.QuantFormat.QDQ, per_channel=True,
        activation_type=quantization.QuantType.QInt8, weight_type=quantization.QuantType.QInt8,
        calibrate_method=quantization.CalibrationMethod[method],
    )  # fmt: skip


def invalid(model: Path) -> str | None:
    """Why onnx's own checker refuses a file that a peer wrote; None for a valid one."""
    import onnx

    try:
        onnx.checker.check_model(str(model), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        return f"invalid file: {' '.join(str(error).split())[:60]}…"
    return None


def by_ai_edge_quantizer(model: Path, out: Path, samples: Samples) -> None:
    """Its recipe for static int8: weights per channel, activations int8, float I/O."""
    from ai_edge_litert.interpreter import Interpreter  # type: ignore[import-untyped]

    parts = ("quantizer", "recipe", "algorithm_manager")
    quantizer, recipe, algorithms = (importlib.import_module(f"ai_edge_quantizer.{name}") for name in parts)
    contract = LiteRt().load(artifact_at(model)).contract
    signature = next(iter(Interpreter(str(model)).get_signature_list()))
    worker = quantizer.Quantizer(str(model))
    worker.load_quantization_recipe(recipe.static_wi8_ai8())
    for end in ("INPUT", "OUTPUT"):
        worker.update_quantization_recipe(".*", end, algorithm_key=algorithms.AlgorithmName.NO_QUANTIZE)
    worker.quantize(worker.calibrate({signature: list(calls(contract, samples))})).export_model(
        str(out), overwrite=True
    )
