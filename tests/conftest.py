"""Models and probes that several test folders share, each made once per session and only when asked for."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from edgewright.data import Samples
from edgewright.export.capture import capture_module
from edgewright.export.onnx.file import save_model
from edgewright.export.onnx.quantize.options import QuantizeOptions
from edgewright.export.onnx.quantize.step import quantize
from edgewright.export.onnx.simplify import simplify
from edgewright.export.steps import Job
from edgewright.runtimes.artifact import artifact_at
from edgewright.runtimes.contract import Contract, TensorInfo
from tests.models import NETWORKS, samples

torch.set_num_threads(1)


class MadeOnDemand(Mapping[str, Path]):
    """Network name → file, made at the first look."""

    def __init__(self, make: Callable[[str, Path], None], folder: Path) -> None:
        self._make = make
        self._folder = folder

    def __getitem__(self, name: str) -> Path:
        if name not in NETWORKS:
            raise KeyError(name)
        path = self._folder / f"{name}.onnx"
        if not path.exists():
            self._make(name, path)
        return path

    def __iter__(self) -> Iterator[str]:
        return iter(NETWORKS)

    def __len__(self) -> int:
        return len(NETWORKS)


@pytest.fixture(scope="session")
def clean_models(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """The clean float ONNX of each network, with its contract: input `input` [1, ...], output `output` [1, classes]."""
    return MadeOnDemand(_capture, tmp_path_factory.mktemp("clean"))


@pytest.fixture(scope="session")
def int8_models(clean_models: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """The QDQ ONNX of each network, calibrated on 32 samples."""

    def make(name: str, path: Path) -> None:
        calibration = Samples({"input": samples(name, 32, seed=1).numpy()})
        quantize(artifact_at(clean_models[name]), path, Job(calibration=calibration), QuantizeOptions("minmax"))

    return MadeOnDemand(make, tmp_path_factory.mktemp("int8"))


@pytest.fixture(scope="session")
def probes() -> dict[str, NDArray[np.float32]]:
    """Eight inputs [8, ...] of each network, unseen by calibration."""
    return {name: samples(name, 8).numpy() for name in NETWORKS}


def _capture(name: str, path: Path) -> None:
    module, example = NETWORKS[name][0](), samples(name, 1)
    with torch.no_grad():
        output = module(example)
    contract = Contract((TensorInfo("input", tuple(example.shape)),), (TensorInfo("output", tuple(output.shape)),))
    model, _ = simplify(capture_module(module, {"input": example}, ["output"]))
    save_model(model, contract, path)
