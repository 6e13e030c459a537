"""The Core ML exporter: its whole road from a foreign file, and the evaluator of ML programs in its float32 mode."""

import io
import tarfile
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgewright.benchmarks.conformance.cases import Arrays

if TYPE_CHECKING:
    import onnx

EXPORTER = "edgewright.export"
"""Found by name: what measures does not depend on what it measures."""


class Coreml:
    name = "coreml"

    def __init__(self, target: str = "iOS17") -> None:
        self.dtypes: frozenset[str] = import_module(f"{EXPORTER}.coreml.target").TARGET.dtypes
        self._options = import_module(f"{EXPORTER}.coreml.options").CoremlOptions(target)
        self._simplify = import_module(f"{EXPORTER}.onnx.simplify").simplify
        self._convert = import_module(f"{EXPORTER}.coreml.convert").convert

    def convert(self, model: "onnx.ModelProto") -> bytes:
        """A package, which is a folder, as an archive."""
        import onnx_ir as ir

        simplified, _ = self._simplify(ir.from_proto(model))
        with TemporaryDirectory() as folder:
            source, out = Path(folder, "model.onnx"), Path(folder, "model.mlpackage")
            ir.save(simplified, source)
            self._convert(source, out, self._options, np.float32)
            archive = io.BytesIO()
            with tarfile.open(fileobj=archive, mode="w") as packed:
                packed.add(out, "model.mlpackage")
        return archive.getvalue()

    def answers(self, content: bytes, inputs: Arrays) -> Iterator[tuple[str, Mapping[str, NDArray[Any]]]]:
        """Every result is held to the shape and type that the file declares."""
        from edgewright.runtimes.mil.session import MilSession

        with TemporaryDirectory() as folder:
            with tarfile.open(fileobj=io.BytesIO(content)) as packed:
                packed.extractall(folder, filter="data")
            yield "evaluator", MilSession(Path(folder, "model.mlpackage"), arithmetic="float32").run(inputs)
