"""LiteRT (ai-edge-litert): runs TFLite files, float and int8 kernels by XNNPACK."""

from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import cast

from edgewright.devices.spec import Format
from edgewright.runtimes.artifact import Artifact
from edgewright.runtimes.tflite_session import Interpreter, TfliteSession


class LiteRt:
    name = "litert"
    formats = (Format.TFLITE, Format.TFLM)
    preference = 10

    def missing(self) -> str | None:
        return None if find_spec("ai_edge_litert") else "needs 'ai-edge-litert': pip install 'edgewright[tflite]'"

    def version(self) -> str:
        return version("ai-edge-litert")

    def load(self, artifact: Artifact, threads: int = 1) -> TfliteSession:
        return TfliteSession(artifact.path, threads, _interpreter)


def _interpreter(path: Path, threads: int, keep_inner: bool) -> Interpreter:
    from ai_edge_litert import interpreter as litert  # type: ignore[import-untyped]

    kinds = litert.OpResolverType
    made = litert.Interpreter(
        model_path=str(path),
        num_threads=threads,
        experimental_op_resolver_type=kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES if keep_inner else kinds.AUTO,
        experimental_preserve_all_tensors=keep_inner,
    )
    return cast(Interpreter, made)


RUNTIME = LiteRt()
