"""An edge of the exporter graph: a `Step` turns an artifact of one Spec into another; `@step` registers it."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, is_dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from edgewright.data import Samples
from edgewright.devices.spec import Spec
from edgewright.errors import Error
from edgewright.progress import Progress, Silent
from edgewright.runtimes.artifact import Artifact

Notes = dict[str, Any]  # JSON values that a step wants on record
UsesData = bool | Literal["if given"]


@dataclass(frozen=True)
class NoOptions:
    """A step without choices."""


@dataclass(frozen=True)
class Job:
    """What a step may use beyond its source: parts of the data that share no sample, and never the test part."""

    calibration: Samples | None = None
    validation: Samples | None = None
    progress: Progress = field(default_factory=Silent)
    train: Samples | None = None


Function = Callable[[Artifact, Path, Job, Any], Notes]


@dataclass(frozen=True, eq=False)  # a step is itself: compared and hashed by identity
class Step:
    """`function(source, out, job, options)` writes the artifact at `out` (which does not exist yet) and returns notes.

    `needs` maps distribution names to the extra that installs them; `options` is a frozen dataclass type whose
    fields are the step's choices; `cost` orders paths (about seconds); `uses_data` is True where it cannot do without.
    """

    name: str
    source: Spec
    target: Spec
    function: Function
    needs: Mapping[str, str]
    options: type
    cost: float
    uses_data: UsesData
    module: str

    def missing(self) -> str | None:
        """Why the step cannot run here, with what to install; None when it can."""
        absent = [package for package in self.needs if _version(package) is None]
        if not absent:
            return None
        extras = sorted({self.needs[package] for package in absent})
        return f"needs {', '.join(absent)}: pip install 'edgewright[{','.join(extras)}]'"

    def tools(self) -> dict[str, str]:
        """Versions of what the step runs with."""
        return {package: _version(package) or "missing" for package in self.needs}


def step(
    *,
    source: str,
    target: str,
    needs: Mapping[str, str],
    cost: float,
    options: type = NoOptions,
    uses_data: UsesData = False,
) -> Callable[[Function], Function]:
    """Register the decorated function as the edge `source` → `target` (Specs as text)."""

    def register(function: Function) -> Function:
        if not is_dataclass(options):
            raise Error(f"{function.__name__}: options must be a dataclass")
        function.__step__ = Step(  # type: ignore[attr-defined]
            name=function.__name__.replace("_", "-"),
            source=Spec.parse(source),
            target=Spec.parse(target),
            function=function,
            needs=MappingProxyType(dict(needs)),
            options=options,
            cost=cost,
            uses_data=uses_data,
            module=function.__module__,
        )
        return function

    return register


@cache
def steps() -> tuple[Step, ...]:
    """Every step below this folder, by name. Two steps for one edge are refused, naming the first owner."""
    found: dict[tuple[Spec, Spec], Step] = {}
    package = importlib.import_module("edgewright.export")
    for module_info in pkgutil.walk_packages(package.__path__, "edgewright.export."):
        for value in vars(importlib.import_module(module_info.name)).values():
            candidate = getattr(value, "__step__", None)
            if not isinstance(candidate, Step) or candidate.module != module_info.name:
                continue
            owner = found.setdefault((candidate.source, candidate.target), candidate)
            if owner is not candidate:
                raise Error(f"{candidate.source} → {candidate.target} is already made by {owner.module}.{owner.name}")
    return tuple(sorted(found.values(), key=lambda s: s.name))


@cache
def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
