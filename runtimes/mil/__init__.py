"""Runs ML programs of Core ML packages on any system: what each operation is defined to give, on the CPU.

It proves a package's arithmetic, its weights and its float16 roundings. It is not the Neural Engine: how that one (or
Apple's CPU and GPU kernels) rounds inside an operation, and which operations it takes, only a device tells.
"""

from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING

from edgewright.devices.spec import Format
from edgewright.runtimes.artifact import Artifact

if TYPE_CHECKING:
    from edgewright.runtimes.mil.session import MilSession

NEEDS = {"coremltools": "coreml", "torch": "torch"}


class MilEvaluator:
    name = "mil-evaluator"
    formats = (Format.COREML,)
    preference = 20  # after Core ML itself
    caution = "CPU semantics by edgewright's evaluator, not the Neural Engine"

    def missing(self) -> str | None:
        absent = [package for package in NEEDS if not find_spec(package)]
        if not absent:
            return None
        extras = ",".join(NEEDS[package] for package in absent)
        return f"needs {' and '.join(map(repr, absent))}: pip install 'edgewright[{extras}]'"

    def version(self) -> str:
        return version("edgewright")

    def load(self, artifact: Artifact, threads: int = 1) -> "MilSession":
        """Raises BadModel on a damaged package, UnsupportedOps on operations that it does not know."""
        from edgewright.runtimes.mil.session import MilSession

        return MilSession(artifact.path, threads)


RUNTIME = MilEvaluator()
