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
