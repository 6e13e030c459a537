"""What a Mac found: `results.json` of the script, checked."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgewright.errors import BadInput

FORMAT = 1


@dataclass(frozen=True)
class Machine:
    """Text as the system gives it, "" where it gave none."""

    model: str
    chip: str
    memory_bytes: str
    macos: str
    build: str
    python: str
    coremltools: str
    measured: str

    def __str__(self) -> str:
        return f"{self.model or 'a Mac'} ({self.chip or 'chip not told'}), macOS {self.macos or 'not told'}"


@dataclass(frozen=True)
class Against:
    """`outputs_db`: SNR by output. `max_abs` is the largest difference over all, `top1_agreement` a share of the calls,
    None where the first output is no row of scores."""

    outputs_db: Mapping[str, float]
    max_abs: float
    top1_agreement: float | None

    @property
    def snr_db(self) -> float:
        """Of the worst output."""
        return min(self.outputs_db.values())


@dataclass(frozen=True)
class Placed:
    """One operation of Core ML's compute plan: the device it prefers, those that could take it, its share of cost."""

    name: str
    type: str
    device: str
    supported: tuple[str, ...]
    cost: float | None


@dataclass(frozen=True)
class OnUnit:
    """One package on one choice of compute units; with an `error` the figures are absent."""

    unit: str
    error: str
    load_ms: float | None
    first_ms: float | None
    median_ms: float | None
    p90_ms: float | None
    runs: int
    against: Mapping[str, Against]
    placement: tuple[Placed, ...]
    placement_error: str

    @property
    def devices(self) -> Counter[str]:
        """Operations by the device that Core ML prefers."""
        return Counter(each.device for each in self.placement)


@dataclass(frozen=True)
class CaseResult:
    name: str
    digest: str
    reference_digest: str
    samples: int
    units: tuple[OnUnit, ...]


@dataclass(frozen=True)
class MacResults:
    machine: Machine
    cases: tuple[CaseResult, ...]

    def case(self, digest: str) -> CaseResult | None:
        """The one measured on the package of this digest."""
        return next((case for case in self.cases if case.digest == digest), None)


def read_results(path: Path) -> MacResults:
    """Raises BadInput on anything but the script's results."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if raw["format"] != FORMAT:
            raise BadInput(f"{path}: results of format {raw['format']}, not {FORMAT}: use the script of this version")
        return MacResults(Machine(**raw["machine"]), tuple(_case(case) for case in raw["cases"]))
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except BadInput:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{path}: not the results of profile_on_mac.py ({type(error).__name__}: {error})") from None


def _case(raw: Mapping[str, Any]) -> CaseResult:
    units = tuple(_on_unit(unit, found) for unit, found in raw["units"].items())
    return CaseResult(raw["name"], raw["digest"], raw["reference_digest"], int(raw["samples"]), units)


def _on_unit(unit: str, raw: Mapping[str, Any]) -> OnUnit:
    return OnUnit(
        unit=unit,
        error=raw["error"],
        load_ms=_number(raw, "load_ms"),
        first_ms=_number(raw, "first_ms"),
        median_ms=_number(raw, "median_ms"),
        p90_ms=_number(raw, "p90_ms"),
        runs=int(raw.get("runs", 0)),
        against={kind: _against(found) for kind, found in raw.get("against", {}).items()},
        placement=tuple(Placed(**(row | {"supported": tuple(row["supported"])})) for row in raw["placement"]),
        placement_error=raw["placement_error"],
    )


def _number(raw: Mapping[str, Any], key: str) -> float | None:
    return float(raw[key]) if key in raw else None


def _against(raw: Mapping[str, Any]) -> Against:
    outputs = {name: float(found["snr_db"]) for name, found in raw["outputs"].items()}
    if not outputs:
        raise ValueError("no outputs were compared")
    largest = max(float(found["max_abs"]) for found in raw["outputs"].values())
    return Against(outputs, largest, raw["top1_agreement"])
