"""Core ML: runs ML programs on the CPU of a Mac. No other system can."""

import logging
import sys
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.devices.spec import Format
from edgewright.errors import BadInput, BadModel
from edgewright.runtimes.artifact import Artifact
from edgewright.runtimes.contract import TensorInfo
from edgewright.runtimes.coreml_contract import contract_of, names_in_file
from edgewright.runtimes.runtime import Arrays


class CoreMlSession:
    """Core ML chooses its threads itself."""

    def __init__(self, path: Path) -> None:
        logging.getLogger("coremltools").setLevel(logging.ERROR)  # it warns about every package that it does not find
        import coremltools  # type: ignore[import-untyped]

        try:
            self._model = coremltools.models.MLModel(str(path), compute_units=coremltools.ComputeUnit.CPU_ONLY)
        except Exception as error:  # the framework's errors come as plain Exceptions
            raise BadModel(f"{path}: Core ML refuses it: {error}") from None
        metadata = self._model.user_defined_metadata
        self.contract = contract_of(path, metadata)
        self._file_names = names_in_file(metadata)

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        answers = self._predict(self._feed(inputs))
        return self.contract.from_file(np.asarray(answers[self._in_file(info.name)]) for info in self.contract.outputs)

    def prepared(self, inputs: Arrays) -> Callable[[], None]:
        feed = self._feed(inputs)
        return lambda: self._model.predict(feed) and None

    def intermediates(self, inputs: Arrays) -> dict[str, NDArray[Any]]:  # noqa: ARG002 Core ML shows none
        return {}

    def _feed(self, inputs: Arrays) -> dict[str, Any]:
        names = [self._in_file(info.name) for info in self.contract.inputs]
        arrays = map(np.atleast_1d, self.contract.to_file(inputs))  # Core ML has no scalars
        held = (_held(info, array) for info, array in zip(self.contract.inputs, arrays, strict=True))
        return dict(zip(names, held, strict=True))

    def _in_file(self, name: str) -> str:
        return self._file_names.get(name, name)

    def _predict(self, feed: dict[str, Any]) -> dict[str, Any]:
        try:
            return dict(self._model.predict(feed))
        except Exception as error:
            raise BadInput(f"Core ML failed on these inputs: {error}") from None


def _held(info: TensorInfo, array: NDArray[Any]) -> Any:
    """What coremltools wants: an image of uint8 pixels as PIL's, whose colors Core ML puts into the file's order."""
    if info.image is None:
        return array
    from PIL import Image

    pixels = array[0].astype(np.uint8)
    ordered = pixels[::-1] if info.image == "BGR" else pixels
    return Image.fromarray(ordered[0] if len(ordered) == 1 else np.ascontiguousarray(ordered.transpose(1, 2, 0)))


class CoreMl:
    name = "coreml"
    formats = (Format.COREML,)
    preference = 10
    caution = ""

    def missing(self) -> str | None:
        if sys.platform != "darwin":
            return f"Core ML runs on macOS only; this is {sys.platform}: measure this file on a Mac"
        return None if find_spec("coremltools") else "needs 'coremltools': pip install 'edgewright[coreml]'"

    def version(self) -> str:
        return version("coremltools")

    def load(self, artifact: Artifact, threads: int = 1) -> CoreMlSession:  # noqa: ARG002
        return CoreMlSession(artifact.path)


RUNTIME = CoreMl()
