"""tflite-runtime: the older interpreter that Raspberry Pi systems carry; its wheels need numpy 1."""

from functools import partial
from importlib.metadata import version
from importlib.util import find_spec

import numpy as np

from edgewright.devices.spec import Format
from edgewright.runtimes.artifact import Artifact
from edgewright.runtimes.tflite_session import TfliteSession, open_interpreter


class TfliteRuntime:
    name = "tflite-runtime"
    formats = (Format.TFLITE, Format.TFLM)
    preference = 20
    caution = ""

    def missing(self) -> str | None:
        if not find_spec("tflite_runtime"):
            return "needs 'tflite-runtime': pip install 'edgewright[tflite-runtime]'"
        if int(np.__version__.split(".")[0]) >= 2:  # its extension was built for numpy 1 and dies when used
            return f"needs numpy<2, this is {np.__version__}: pip install 'numpy<2', or use litert"
        return None

    def version(self) -> str:
        return version("tflite-runtime")

    def load(self, artifact: Artifact, threads: int = 1) -> TfliteSession:
        return TfliteSession(artifact.path, threads, partial(open_interpreter, "tflite_runtime"))


RUNTIME = TfliteRuntime()
