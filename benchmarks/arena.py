"""The tensor arena that tflite-micro asks for: what a model needs of a microcontroller's RAM."""

from dataclasses import dataclass
from pathlib import Path

from edgewright.errors import BadModel, MissingExtra


@dataclass(frozen=True)
class Arena:
    """`bytes` measured with 64-bit pointers (about 1 % above a 32-bit core); None where `problem` says why not."""

    bytes: int | None
    problem: str = ""


def arena_of(path: Path) -> Arena | None:
    """None where tflite-micro is not installed. A file that it refuses has a problem, not an exception."""
    from edgewright.runtimes.micro import arena_bytes

    try:
        return Arena(arena_bytes(path))
    except MissingExtra:
        return None
    except BadModel as error:
        return Arena(None, " ".join(str(error).removeprefix(f"{path}: ").split()))
