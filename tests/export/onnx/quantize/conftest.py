"""The small transformer in float and in plain int8, made once."""

from pathlib import Path

import pytest

from edgewright.data import Samples
from edgewright.export.onnx.quantize.options import QuantizeOptions
from edgewright.export.onnx.quantize.step import quantize
from edgewright.export.steps import Job
from edgewright.runtimes.artifact import artifact_at
from tests.export.onnx.quantize.vit import inputs, write_vit


@pytest.fixture(scope="session")
def vit_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clean float ONNX of the transformer, two blocks."""
    path = tmp_path_factory.mktemp("vit") / "vit.onnx"
    write_vit(path, depth=2)
    return path


@pytest.fixture(scope="session")
def vit_job() -> Job:
    """32 samples to calibrate on, 32 labelled ones to choose by."""
    parts = [inputs(32, seed) for seed in (1, 2)]
    calibration, validation = (Samples({"input": x.numpy()}, labels.numpy()) for x, labels in parts)
    return Job(calibration=calibration, validation=validation)


@pytest.fixture(scope="session")
def vit_int8(vit_file: Path, vit_job: Job, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its plain int8 truth."""
    path = tmp_path_factory.mktemp("vit_int8") / "int8.onnx"
    quantize(artifact_at(vit_file), path, vit_job, QuantizeOptions("average"))
    return path
