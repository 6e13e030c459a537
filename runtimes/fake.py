"""A runtime without a model: its file is a contract as JSON. It serves no format, so only its name picks it."""

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.devices.spec import Format
from edgewright.errors import BadInput, BadModel
from edgewright.runtimes.artifact import Artifact
from edgewright.runtimes.contract import Contract
from edgewright.runtimes.runtime import Arrays


class FakeSession:
    """Answers noise seeded by the bytes of the inputs: equal inputs give equal outputs."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        content = b"".join(array.tobytes() for array in self.contract.to_file(inputs))
        generator = np.random.default_rng(list(hashlib.sha256(content).digest()))
        stored = [_draw(generator, info.shape, info.file_dtype or info.dtype) for info in self.contract.outputs]
        return self.contract.from_file(stored)

    def prepared(self, inputs: Arrays) -> Callable[[], None]:
        self.contract.to_file(inputs)
        return lambda: None

    def intermediates(self, inputs: Arrays) -> dict[str, NDArray[Any]]:  # noqa: ARG002
        return {}


class Fake:
    name = "fake"
    formats: tuple[Format, ...] = ()
    preference = 100
    caution = ""

    def missing(self) -> str | None:
        return None

    def version(self) -> str:
        return "1"

    def load(self, artifact: Artifact, threads: int = 1) -> FakeSession:  # noqa: ARG002
        """Raises BadModel when the file holds no contract."""
        try:
            return FakeSession(Contract.from_json(artifact.path.read_text()))
        except (OSError, UnicodeDecodeError, BadInput) as error:
            raise BadModel(f"{artifact.path}: the fake runtime wants a contract as JSON: {error}") from None


def _draw(generator: np.random.Generator, shape: tuple[int | None, ...], dtype: str) -> NDArray[Any]:
    lengths = [length or 1 for length in shape]
    if np.issubdtype(np.dtype(dtype), np.floating):
        return np.asarray(generator.standard_normal(lengths)).astype(dtype)
    return np.asarray(generator.integers(0, 2 if dtype == "bool" else 100, lengths)).astype(dtype)


RUNTIME = Fake()
