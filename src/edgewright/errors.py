"""Every error that edgewright raises on purpose: one tree, each with the exit code of the command line.

Error ─┬─ BadInput (ValueError) ──┬─ BadData    the samples are unusable
       │                          ├─ BadModel   the model cannot be loaded, or holds NaN
       │                          ├─ BadProfile a device file is wrong
       │                          └─ BadRecipe  a recipe file is wrong
       ├─ MissingExtra (ImportError)            an optional package is not installed
       ├─ NotTrusted (PermissionError)          opening the file would run code
       ├─ NoPath (LookupError)                  no chain of steps leads to the wanted artifact
       ├─ UnsupportedOps (NotImplementedError)  operators without a lowering, all of them
       ├─ WriteFailed (OSError)                 disk full, folder not writable
       ├─ Diverged                              an artifact does not answer like its parent
       └─ WorkerFailed (RuntimeError)           a measuring process died
"""

from collections.abc import Iterable
from difflib import get_close_matches


class Error(Exception):
    """Base of all errors raised on purpose; the message says what, where, and what to do."""

    exit_code = 2


class BadInput(Error, ValueError):
    """What the user gave cannot be used."""


class BadData(BadInput):
    """Samples are missing, empty, of the wrong shape, or not finite."""


class BadModel(BadInput):
    """A model does not import, does not parse, or holds unusable weights."""


class BadProfile(BadInput):
    """A device file is wrong."""


class BadRecipe(BadInput):
    """A recipe file is wrong."""


class MissingExtra(Error, ImportError):
    """An optional package is needed and not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs '{package}': pip install 'edgewright[{extra}]'")
        self.package = package
        self.extra = extra


class NotTrusted(Error, PermissionError):
    """Opening the file would run code, and the user did not say that it is trusted."""


class NoPath(Error, LookupError):
    """No chain of steps leads from the source to the wanted artifact."""


LISTED = ("coreml", "tflite")  # targets that `edgewright ops` knows


class UnsupportedOps(Error, NotImplementedError):
    """Operators that a target cannot express; `missing` maps each to (reason, names of its nodes)."""

    def __init__(self, target: str, missing: dict[str, tuple[str, list[str]]]) -> None:
        lines = [
            f"  {op} × {len(nodes)}: {reason} ({', '.join(nodes[:3])}{', …' if len(nodes) > 3 else ''})"
            for op, (reason, nodes) in sorted(missing.items())
        ]
        super().__init__(
            f"{target} cannot express {len(missing)} operator(s) of this model:\n"
            + "\n".join(lines)
            + (f"\nSee `edgewright ops {target}` for what is supported." if target in LISTED else "")
        )
        self.target = target
        self.missing = missing


class WriteFailed(Error, OSError):
    """An output could not be written; nothing half-written is left."""


class Diverged(Error):
    """An artifact does not answer like the one it was made from."""

    exit_code = 1


class WorkerFailed(Error, RuntimeError):
    """A measuring process died."""

    exit_code = 1


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint for a mistyped word: the closest known ones, else all of them."""
    known = sorted(known)
    close = get_close_matches(word, known, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(repr(name) for name in close)}?"
    return f"known: {', '.join(known)}"
