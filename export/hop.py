"""One artifact of a build: where it is, how it was made, and how it answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgewright.export.verify import Fidelity
from edgewright.runtimes.artifact import Artifact

ORIGINS = ("start", "train")
"""The steps whose result is what the user brought."""


@dataclass(frozen=True)
class Verdict:
    """How an artifact answers against its parent and the original; `unverified` says why it could not be run here.

    `diverged` says which limit it missed and where; None when it passed or could not be run. `caution` says what the
    answers do not prove, where something stands in for the format's own runtime.
    """

    vs_parent: Fidelity | None = None
    vs_original: Fidelity | None = None
    runtime: str | None = None
    unverified: str | None = None
    diverged: str | None = None
    caution: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "vs_parent": self.vs_parent and self.vs_parent.to_json(),
            "vs_original": self.vs_original and self.vs_original.to_json(),
            "runtime": self.runtime,
            "unverified": self.unverified,
            "diverged": self.diverged,
            "caution": self.caution,
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "Verdict":
        known = {name: Fidelity.from_json(raw[name]) for name in ("vs_parent", "vs_original") if raw[name]}
        return cls(**{**raw, **known})


@dataclass(frozen=True)
class Hop:
    """`name` is unique in a build: the Spec of an exported artifact, `trained`, `pruned`, … for torch ones."""

    name: str
    artifact: Artifact
    parent: str | None
    step: str
    options: Mapping[str, Any]
    tools: Mapping[str, str]
    notes: Mapping[str, Any]
    from_store: bool
    seconds: float
    verdict: Verdict


def original_of(hops: Sequence[Hop]) -> Hop:
    """What the user brought, after training: all others are compared with it."""
    return [hop for hop in hops if hop.step in ORIGINS][-1]
