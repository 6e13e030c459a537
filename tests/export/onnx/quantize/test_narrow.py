"""Weights of 7 bits: on request only, on their own scales, and on the file's record."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from edgewright.data import Samples
from edgewright.devices.spec import Precision
from edgewright.export.onnx.file import load_onnx
from edgewright.export.onnx.quantize.narrow import BITS_KEY
from edgewright.export.onnx.quantize.options import QuantizeOptions
from edgewright.export.onnx.quantize.step import quantize
from edgewright.export.steps import Job, Notes
from edgewright.export.tflite.convert import TfliteInt8Options, tflite_int8
from edgewright.export.verify import snr_db
from edgewright.runtimes.artifact import artifact_at
from edgewright.runtimes.read import read
from edgewright.runtimes.runtime import run_samples, runtimes
from tests.models import samples


@pytest.fixture(scope="module")
def made(clean_models: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Notes]:
    out = tmp_path_factory.mktemp("narrow") / "int8.onnx"
    options = QuantizeOptions("minmax", equalize=False, fast_x86=True)
    job = Job(calibration=Samples({"input": samples("watch_cnn", 32, seed=1).numpy()}))
    return out, quantize(artifact_at(clean_models["watch_cnn"]), out, job, options)


def test_weights_reach_64_and_biases_share_their_scales(made: tuple[Path, Notes]) -> None:
    model = load_onnx(made[0])
    heavy = [node for node in model.graph if node.op_type in ("Conv", "Gemm")]
    assert len(heavy) == 4
    for node in heavy:
        x, weight, bias = (array_inputs(value) for value in node.inputs)
        assert np.abs(weight[0].astype(int)).max() == 64
        np.testing.assert_array_equal(bias[1], np.float32(x[1]) * weight[1])


def array_inputs(value: ir.Value | None) -> list[np.ndarray]:  # type: ignore[type-arg]
    node = value.producer() if value is not None else None
    assert node is not None
    return [np.zeros(0) if v is None or v.const_value is None else v.const_value.numpy() for v in node.inputs]


def test_it_is_on_record_and_lowers_like_any_truth(made: tuple[Path, Notes], tmp_path: Path) -> None:
    path, notes = made
    assert notes["weight_bits"] == 7
    assert read(path).metadata[BITS_KEY] == "7"
    tflite_int8(artifact_at(path, Precision.INT8), tmp_path / "int8.tflite", Job(), TfliteInt8Options())
    given = {"input": samples("watch_cnn", 8).numpy()}
    truth = run_samples(runtimes()["onnxruntime"].load(artifact_at(path, Precision.INT8)), given)["output"]
    tflite = artifact_at(tmp_path / "int8.tflite", Precision.INT8)
    assert snr_db(truth, run_samples(runtimes()["litert"].load(tflite), given)["output"]) > 40


def test_the_truth_has_8_bits(int8_models: Mapping[str, Path]) -> None:
    assert BITS_KEY not in read(int8_models["watch_cnn"]).metadata
