"""LiteRT (ai-edge-litert): runs TFLite files, float and int8 kernels by XNNPACK."""

from functools import partial
from importlib.metadata import version
from importlib.util import find_spec

from edgewright.devices.spec import Format
from edgewright.runtimes.artifact import Artifact
from edgewright.runtimes.tflite_session import TfliteSession, open_interpreter


class LiteRt:
    name = "litert"
    formats = (Format.TFLITE, Format.TFLM)
    preference = 10
    caution = ""

    def missing(self) -> str | None:
        return None if find_spec("ai_edge_litert") else "needs 'ai-edge-litert': pip install 'edgewright[tflite]'"

    def version(self) -> str:
        return version("ai-edge-litert")

    def load(self, artifact: Artifact, threads: int = 1) -> TfliteSession:
        return TfliteSession(artifact.path, threads, partial(open_interpreter, "ai_edge_litert"))


RUNTIME = LiteRt()
