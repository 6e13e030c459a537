"""The Core ML exporter: its whole road from a foreign file, and the evaluator of ML programs in its float32 mode."""

import io
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgewright.benchmarks.conformance.cases import Arrays
from edgewright.errors import BadModel, UnsupportedOps

if TYPE_CHECKING:
    import onnx

EXPORTER = "edgewright.export"
"""Found by name: what measures does not depend on what it measures."""


TARGETS = ("iOS17", "iOS18")
"""The exporter's default, and what is tried where that refuses: graphs without inputs need it."""


class Coreml:
    name = "coreml"
    about = f"Files are written for target {TARGETS[0]}, and for {TARGETS[1]} where that refuses a case."

    def __init__(self, targets: Sequence[str] = TARGETS) -> None:
        self.dtypes: frozenset[str] = import_module(f"{EXPORTER}.coreml.target").TARGET.dtypes
        options = import_module(f"{EXPORTER}.coreml.options").CoremlOptions
        self._options = [options(target) for target in targets]
        self._simplify = import_module(f"{EXPORTER}.onnx.simplify").simplify
        self._convert = import_module(f"{EXPORTER}.coreml.convert").convert

    def convert(self, model: "onnx.ModelProto") -> bytes:
        """A package, which is a folder, as an archive."""
        import onnx_ir as ir

        simplified, _ = self._simplify(ir.from_proto(model))
        with TemporaryDirectory() as folder:
            source, out = Path(folder, "model.onnx"), Path(folder, "model.mlpackage")
            ir.save(simplified, source)
            self._write(source, out)
            archive = io.BytesIO()
            with tarfile.open(fileobj=archive, mode="w") as packed:
                packed.add(out, "model.mlpackage")
        return archive.getvalue()

    def _write(self, source: Path, out: Path) -> None:
        """For the first target that takes it; the last one's refusal counts."""
        *earlier, last = self._options
        for options in earlier:
            try:
                self._convert(source, out, options, np.float32)
            except (UnsupportedOps, BadModel):
                continue
            return
        self._convert(source, out, last, np.float32)

    def answers(self, content: bytes, inputs: Arrays) -> Iterator[tuple[str, Mapping[str, NDArray[Any]]]]:
        """Every result is held to the shape and type that the file declares."""
        from edgewright.runtimes.mil.session import MilSession

        with TemporaryDirectory() as folder:
            with tarfile.open(fileobj=io.BytesIO(content)) as packed:
                packed.extractall(folder, filter="data")
            yield "evaluator", MilSession(Path(folder, "model.mlpackage"), arithmetic="float32").run(inputs)
