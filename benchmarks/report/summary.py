"""The few sentences that a reader takes from the tables. Nothing is called the fastest inside the noise."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgewright.benchmarks.report.content import ArtifactRow, Report
from edgewright.benchmarks.units import bytes_text, ms_text, percent_text


@dataclass(frozen=True)
class Card:
    label: str
    value: str
    detail: str = ""


def cards(report: Report) -> list[Card]:
    """Only what the report has figures for."""
    candidates = (_size(report.rows), _accuracy(report.rows), _speed(report.rows), _proof(report.rows), _fit(report))
    return [card for card in (*candidates, _store(report)) if card is not None]


def fastest(rows: Iterable[ArtifactRow]) -> list[str]:
    """Names of the measured artifacts that noise does not tell from the one with the lowest median, itself first.

    What diverged answers something else, so its speed is no merit.
    """
    timed = [
        (row.name, row.latency)
        for row in rows
        if row.latency is not None and row.latency.origin == "measured" and row.status != "diverged"
    ]
    if not timed:
        return []
    timed.sort(key=lambda item: item[1].median_ms)
    return [name for name, latency in timed if latency.low_ms <= timed[0][1].high_ms]


def speed_sentence(rows: Sequence[ArtifactRow]) -> str:
    names = fastest(rows)
    if not names:
        return "Nothing was timed."
    if len(names) == 1:
        return f"{names[0]} is the fastest on this host: its interval lies below all others."
    return f"No winner is named: the intervals of {', '.join(names[:-1])} and {names[-1]} overlap."


def _size(rows: Sequence[ArtifactRow]) -> Card | None:
    if not rows:
        return None
    original = rows[0]
    smallest = min((row for row in rows if row.status != "diverged"), key=lambda row: row.size_bytes, default=original)
    share = (
        f", {percent_text(smallest.size_bytes / original.size_bytes, 0)} of {original.name}"
        if smallest is not original
        else ""
    )
    return Card("Smallest file", bytes_text(smallest.size_bytes), f"{smallest.name}{share}")


def _accuracy(rows: Sequence[ArtifactRow]) -> Card | None:
    known = [row for row in rows if row.accuracy is not None]
    if not known:
        return None
    drops = [(row.accuracy_drop, row.name) for row in known if row.accuracy_drop is not None]
    drop, name = max(drops, default=(None, ""))
    detail = f"at most {100 * drop:.1f} points lost ({name})" if drop is not None and drop > 0 else "no accuracy lost"
    return Card("Accuracy of the original", percent_text(known[0].accuracy or 0.0), detail)


def _speed(rows: Sequence[ArtifactRow]) -> Card | None:
    names = fastest(rows)
    if not names:
        return None
    latency = next(row.latency for row in rows if row.name == names[0])
    assert latency is not None
    detail = names[0] if len(names) == 1 else f"{names[0]}; {len(names) - 1} more within the noise"
    return Card("Lowest latency here", ms_text(latency.median_ms), detail)


def _proof(rows: Sequence[ArtifactRow]) -> Card | None:
    made = [row for row in rows if row.status not in ("original", "compressed")]
    if not made:
        return None
    others = [f"{n} {status}" for status in ("unverified", "diverged") if (n := sum(r.status == status for r in made))]
    verified = sum(row.status == "verified" for row in made)
    return Card("Verified", f"{verified} of {len(made)}", ", ".join(others) or "every artifact")


def _fit(report: Report) -> Card | None:
    if not report.fits:
        return None
    devices = {cell.device for cell in report.fits}
    served = {cell.device for cell in report.fits if cell.verdict in ("FITS", "TIGHT")}
    absent = ", ".join(sorted(devices - served))
    return Card("Devices served", f"{len(served)} of {len(devices)}", f"nothing fits {absent}" if absent else "")


def _store(report: Report) -> Card | None:
    if not report.steps:
        return None
    hits = sum(step.from_store for step in report.steps)
    worked = sum(step.seconds for step in report.steps if not step.from_store)
    return Card("Steps from the store", f"{hits} of {len(report.steps)}", f"{worked:.1f} s of work in this run")
