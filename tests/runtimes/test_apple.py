"""The Core ML session against a stand-in for Apple's framework: names, dtypes and shapes that the file changed."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from edgewright.errors import BadInput
from edgewright.runtimes.apple import CoreMlSession
from edgewright.runtimes.contract import CONTRACT_KEY, NAMES_KEY, Contract, TensorInfo
from edgewright.runtimes.runtime import runtimes

CONTRACT = Contract(
    (TensorInfo("image.1", (1, 2), "uint8", file_dtype="int32"),),
    (TensorInfo("scores", (1, 2)), TensorInfo("total", (), "int64", file_dtype="int32")),
)


class Model:
    """What coremltools' MLModel offers on a Mac, doubling its input."""

    def __init__(self, path, compute_units):
        assert path.endswith("x.mlpackage") and compute_units == "CPU_ONLY"
        self.user_defined_metadata = {
            CONTRACT_KEY: CONTRACT.to_json(),
            NAMES_KEY: json.dumps({"image_1": "image.1"}),
        }

    def predict(self, feed):
        array = feed["image_1"]
        assert array.dtype == np.int32
        return {"scores": (array * 2).astype(np.float32), "total": np.array([array.sum()], np.int32)}


@pytest.fixture
def mac(monkeypatch):
    stub = SimpleNamespace(models=SimpleNamespace(MLModel=Model), ComputeUnit=SimpleNamespace(CPU_ONLY="CPU_ONLY"))
    monkeypatch.setitem(sys.modules, "coremltools", stub)


@pytest.mark.usefixtures("mac")
def test_the_user_sees_the_original_names_dtypes_and_shapes(tmp_path):
    session = CoreMlSession(tmp_path / "x.mlpackage")
    answers = session.run({"image.1": np.array([[3, 250]], np.uint8)})
    assert answers["scores"].tolist() == [[6.0, 500.0]]
    assert answers["total"].shape == () and answers["total"].dtype == np.int64 and answers["total"] == 253
    with pytest.raises(BadInput, match="1×2"):
        session.run({"image.1": np.zeros((1, 3), np.uint8)})


def test_elsewhere_it_says_why_not(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    assert "runs on macOS only" in runtimes()["coreml"].missing()
