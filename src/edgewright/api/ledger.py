"""What each compression pass cost and saved: a row a stage, against the original and against the stage before."""

import datetime
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgewright.api.result import Timing, file_name
from edgewright.devices.spec import Spec
from edgewright.export.hop import Hop
from edgewright.runtimes.read import read


@dataclass(frozen=True)
class Stage:
    """One module on the way, as a file: `file` is None where the road to `spec` broke off at a hop that diverged.

    `parameters` are those of the module. Bytes, MACs, accuracy and time are the file's own.
    """

    name: str
    module: Hop
    spec: Spec
    file: Hop | None
    parameters: int
    timing: Timing

    @cached_property
    def macs(self) -> int | None:
        return None if self.file is None else read(self.file.artifact.path).macs

    @property
    def size_bytes(self) -> int | None:
        return None if self.file is None else self.file.artifact.size_bytes

    @property
    def accuracy(self) -> float | None:
        """0…1 on the test part; None without labels, or where nothing runs the file here."""
        answers = self.file and self.file.verdict.vs_original
        return answers.accuracy if answers else None

    @property
    def snr_db(self) -> float | None:
        """Of the file's answers against the original module's."""
        answers = self.file and self.file.verdict.vs_original
        return answers.snr_db if answers else None

    @property
    def median_ms(self) -> float | None:
        return None if isinstance(self.timing, str) else self.timing.median_ms

    @property
    def file_name(self) -> str | None:
        return f"{self.module.name}.{file_name(self.file)}" if self.file else None

    def to_json(self) -> dict[str, Any]:
        return {
            "stage": self.name,
            "pass": self.module.step,
            "options": dict(self.module.options),
            "notes": dict(self.module.notes),
            "from_store": self.module.from_store,
            "seconds": round(self.module.seconds, 3),
            "module": file_name(self.module),
            "spec": str(self.spec),
            "file": self.file_name,
            "accuracy": self.accuracy,
            "snr_db": None if self.snr_db is None else _number(self.snr_db),
            "parameters": self.parameters,
            "macs": self.macs,
            "size_bytes": self.size_bytes,
            "latency": self.timing if isinstance(self.timing, str) else asdict(self.timing),
            "unverified": self.file and self.file.verdict.unverified,
        }


@dataclass(frozen=True)
class Change:
    """From one stage to another: `accuracy_drop` as a fraction, the others as before ÷ after. None: not measured."""

    accuracy_drop: float | None
    parameters: float | None
    macs: float | None
    size_bytes: float | None
    latency: float | None


def change(before: Stage, after: Stage) -> Change:
    drop = None if before.accuracy is None or after.accuracy is None else before.accuracy - after.accuracy
    return Change(
        drop,
        _ratio(before.parameters, after.parameters),
        _ratio(before.macs, after.macs),
        _ratio(before.size_bytes, after.size_bytes),
        _ratio(before.median_ms, after.median_ms),
    )


@dataclass(frozen=True)
class Ledger:
    """`stages[0]` is the original. `failures` says which file diverged; empty when all is well."""

    model: str
    data: str
    samples: int
    out: Path
    stages: tuple[Stage, ...]
    failures: tuple[str, ...]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        return {
            "edgewright": version("edgewright"),
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "python": platform.python_version(),
            "model": self.model,
            "data": self.data,
            "test_samples": self.samples,
            "seconds": round(self.seconds, 3),
            "failures": list(self.failures),
            "stages": [self._row(index) for index in range(len(self.stages))],
        }

    def _row(self, index: int) -> Mapping[str, Any]:
        stage, first, before = self.stages[index], self.stages[0], self.stages[max(index - 1, 0)]
        against = {"original": asdict(change(first, stage)), "before": asdict(change(before, stage))}
        return stage.to_json() | ({"against": against} if index else {})


def _ratio(before: float | None, after: float | None) -> float | None:
    return None if not before or not after else before / after


def _number(value: float) -> float | str:
    """JSON has no infinity."""
    return value if abs(value) != float("inf") else str(value)
