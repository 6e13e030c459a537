"""Preprocessing in front of a foreign ONNX file answers like numpy's, and like the wrapper around a torch module."""

import numpy as np
import onnx.parser
import pytest
import torch

from edgewright.errors import BadInput
from edgewright.export.onnx.preprocess import preprocess_onnx
from edgewright.runtimes.artifact import artifact_at
from edgewright.runtimes.module.preprocess import Preprocess
from edgewright.runtimes.module.preprocessed import Preprocessed
from edgewright.runtimes.runtime import runtimes

TAKES_BYTES = Preprocess(scale=1 / 255, mean=(0.5, 0.25), std=(0.5,), dtype="uint8")


def saved(folder, text):
    onnx.save(onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 20]> {text}'), folder / "m.onnx")
    return folder / "m.onnx"


def test_raw_bytes_in_the_original_name(tmp_path):
    path = saved(tmp_path, "g (float[1,2,3] x) => (float[1,2,3] y) { y = Abs(x) }")
    preprocess_onnx(path, tmp_path / "raw.onnx", TAKES_BYTES)
    session = runtimes()["onnxruntime"].load(artifact_at(tmp_path / "raw.onnx"))
    raw = np.arange(0, 240, 40, dtype=np.uint8).reshape(1, 2, 3)
    assert [(info.name, info.dtype) for info in session.contract.inputs] == [("x", "uint8")]
    mean = np.array([0.5, 0.25]).reshape(1, 2, 1)
    np.testing.assert_allclose(session.run({"x": raw})["y"], np.abs((raw / 255 - mean) / 0.5), atol=1e-6)
    wrapped = Preprocessed(torch.nn.Identity(), TAKES_BYTES)(torch.from_numpy(raw)).abs().numpy()
    np.testing.assert_allclose(session.run({"x": raw})["y"], wrapped, atol=1e-6)


def test_models_that_it_does_not_fit(tmp_path):
    two = saved(tmp_path, "g (float[1,2] a, float[1,2] b) => (float[1,2] y) { y = Add(a, b) }")
    with pytest.raises(BadInput, match=r"one float32 input .* this model has a float32 \(1, 2\), b float32"):
        preprocess_onnx(two, tmp_path / "raw.onnx", TAKES_BYTES)
    assert not (tmp_path / "raw.onnx").exists()
