"""What a report shows: plain values, filled in by whoever made the artifacts. None is not available, with a reason."""

from dataclasses import dataclass

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class LatencyFigure:
    """Milliseconds of one call; `low_ms` to `high_ms`: 95 % interval of the median. `origin`: measured or modelled."""

    median_ms: float
    p90_ms: float
    low_ms: float
    high_ms: float
    origin: str
    runtime: str
    threads: int = 1
    cpu_ms: float | None = None


@dataclass(frozen=True)
class ArtifactRow:
    """One artifact. `name` is unique in the report; `parent` is the name of the row that it was made from.

    `status` is original, compressed, verified, unverified or diverged; `reason` says why for the last two.
    `accuracy`, `accuracy_drop` and `agreement` (top-1, with the original) are fractions. SNR is against the parent,
    infinite where the answers are identical.
    """

    name: str
    format: str
    precision: str
    size_bytes: int
    digest: str
    status: str
    reason: str = ""
    parent: str | None = None
    file: str = ""
    accuracy: float | None = None
    accuracy_drop: float | None = None
    snr_db: float | None = None
    agreement: float | None = None
    fidelity_reason: str = ""
    latency: LatencyFigure | None = None
    latency_reason: str = ""
    peak_ram_bytes: int | None = None
    flags: tuple[str, ...] = ()

    @property
    def spec(self) -> str:
        return f"{self.format}:{self.precision}"


@dataclass(frozen=True)
class FitReason:
    resource: str
    verdict: str | None
    reason: str


@dataclass(frozen=True)
class FitCell:
    """Whether `artifact` (the name of a row) fits `device`: FITS, TIGHT, UNKNOWN or NO."""

    device: str
    artifact: str
    verdict: str
    reasons: tuple[FitReason, ...]


@dataclass(frozen=True)
class StepRow:
    """`source` and `target` are names of rows, or Specs."""

    name: str
    source: str
    target: str
    seconds: float
    from_store: bool
    note: str = ""


@dataclass(frozen=True)
class Report:
    """`devices` maps names to titles; `commands` reproduce the run, a line each; `intro` says what was done to what."""

    title: str
    created: str
    rows: tuple[ArtifactRow, ...]
    intro: str = ""
    fits: tuple[FitCell, ...] = ()
    devices: Pairs = ()
    steps: tuple[StepRow, ...] = ()
    host: Pairs = ()
    environment: Pairs = ()
    inputs: Pairs = ()
    commands: tuple[str, ...] = ()
