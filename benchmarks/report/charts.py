"""Geometry of the plots; `figures.html` draws it. Positions are pixels of the SVG's view box."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import isfinite

from edgewright.benchmarks.report.content import ArtifactRow
from edgewright.benchmarks.report.scale import Scale, Tick, spanning
from edgewright.benchmarks.units import bytes_text, ms_text, percent_text

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 560.0, 150.0, 20.0, 14.0, 44.0
ROW, SCATTER_HEIGHT, SCATTER_LEFT = 26.0, 400.0, 56.0
CHARACTER, LINE = 6.1, 13.0  # size of a label's letter at 11 px
SHAPES = {"float32": "circle", "float16": "square", "int8": "diamond"}


@dataclass(frozen=True)
class Dot:
    """A figure; `whisker` is its interval. `hint` says it in words. A label away from its dot gets a line to it."""

    x: float
    y: float
    format: str
    shape: str
    hint: str
    hollow: bool = False
    whisker: tuple[float, float] | None = None
    value: str = ""
    label: str = ""
    label_x: float = 0.0
    label_y: float = 0.0
    anchor: str = "start"


@dataclass(frozen=True)
class Chart:
    title: str
    x_label: str
    y_label: str
    height: float
    left: float
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    dots: Sequence[Dot]
    width: float = WIDTH
    right: float = WIDTH - RIGHT
    top: float = TOP

    @property
    def bottom(self) -> float:
        return self.height - BOTTOM


def size_and_accuracy(rows: Iterable[ArtifactRow]) -> Chart | None:
    """Scatter of file size against accuracy; None where nothing has an accuracy."""
    known = [(row, row.accuracy) for row in rows if row.accuracy is not None]
    if not known:
        return None
    x = spanning([row.size_bytes for row, _ in known], SCATTER_LEFT + 30, WIDTH - RIGHT - 90, zero=False, wide=4)
    y = spanning([accuracy for _, accuracy in known], SCATTER_HEIGHT - BOTTOM - 10, TOP + 10, zero=False)
    dots = [
        _dot(
            row,
            x(row.size_bytes),
            y(accuracy),
            f"{row.name}: {bytes_text(row.size_bytes)}, {percent_text(accuracy, 2)}",
        )
        for row, accuracy in known
    ]
    return Chart(
        "File size and accuracy",
        "file size",
        "accuracy on held-out samples",
        SCATTER_HEIGHT,
        SCATTER_LEFT,
        x.ticks(bytes_text),
        y.ticks(lambda value: f"{100 * value:.4g} %"),
        _labelled(dots, [row.name for row, _ in known]),
    )


def latencies(rows: Iterable[ArtifactRow]) -> Chart | None:
    """A line an artifact: median with its 95 % interval; hollow where modelled. None where nothing was timed."""
    timed = [(row, row.latency) for row in rows if row.latency is not None]
    if not timed:
        return None
    ends = [end for _, latency in timed for end in (latency.low_ms, latency.high_ms, latency.median_ms)]
    x = spanning(ends, LEFT + 10, WIDTH - RIGHT - 50, zero=True, wide=8)
    dots = [
        replace(
            _dot(row, x(latency.median_ms), _line(index), f"{row.name}: {_interval_text(row)}"),
            hollow=latency.origin == "modelled",
            whisker=(x(latency.low_ms), x(latency.high_ms)),
            value=ms_text(latency.median_ms),
        )
        for index, (row, latency) in enumerate(timed)
    ]
    title = "Latency of one call: median and its 95 % interval"
    return _lines(title, "milliseconds", [row for row, _ in timed], x, lambda value: f"{value:g}", dots)


def noise_ratios(rows: Iterable[ArtifactRow]) -> Chart | None:
    """A line an artifact: signal over deviation from the parent, in dB, where it is finite; None without any."""
    known = [(row, row.snr_db) for row in rows if row.snr_db is not None and isfinite(row.snr_db)]
    if not known:
        return None
    x = spanning([*(snr for _, snr in known), 0.0], LEFT + 10, WIDTH - RIGHT - 50, zero=True)
    dots = [
        replace(
            _dot(row, x(snr), _line(index), f"{row.name}: {snr:.1f} dB"),
            whisker=(min(x(0.0), x(snr)), max(x(0.0), x(snr))),
            value=f"{snr:.1f}",
        )
        for index, (row, snr) in enumerate(known)
    ]
    title = "Signal over deviation from the parent"
    return _lines(title, "SNR in dB, more is closer", [row for row, _ in known], x, lambda value: f"{value:g}", dots)


def short(name: str, limit: int = 22) -> str:
    """Its begin and its end: artifacts of one run share a prefix and differ in what follows."""
    end = limit * 2 // 3
    return name if len(name) <= limit else f"{name[: limit - end - 1]}…{name[-end:]}"


def _lines(
    title: str, x_label: str, rows: Sequence[ArtifactRow], x: Scale, text: Callable[[float], str], dots: Sequence[Dot]
) -> Chart:
    y_ticks = [Tick(_line(index), short(row.name)) for index, row in enumerate(rows)]
    return Chart(title, x_label, "", TOP + ROW * len(rows) + BOTTOM, LEFT, x.ticks(text), y_ticks, dots)


def _line(index: int) -> float:
    return TOP + ROW * (index + 0.5)


def _dot(row: ArtifactRow, x: float, y: float, hint: str) -> Dot:
    return Dot(x, y, row.format, SHAPES.get(row.precision, "triangle"), hint)


def _interval_text(row: ArtifactRow) -> str:
    latency = row.latency
    assert latency is not None
    ends = f"[{ms_text(latency.low_ms)}, {ms_text(latency.high_ms)}]"
    return f"{ms_text(latency.median_ms)} {ends}, {latency.origin}"


def _labelled(dots: Sequence[Dot], names: Sequence[str]) -> list[Dot]:
    """Put each label at the nearest free place right or left of its dot."""
    taken = [(dot.x - 6, dot.y - 6, dot.x + 6, dot.y + 6) for dot in dots]
    placed = []
    for dot, name in zip(dots, names, strict=True):
        text = short(name)
        candidate, box = _free_place(replace(dot, label=text), CHARACTER * len(text), taken)
        taken.append(box)
        placed.append(candidate)
    return placed


Box = tuple[float, float, float, float]


def _free_place(dot: Dot, width: float, taken: Sequence[Box]) -> tuple[Dot, Box]:
    spots = [(side, LINE * n * sign) for n in range(14) for side in ("start", "end") for sign in (1, -1)]
    for side, shift in spots:
        gap = 10.0 if shift == 0 else 20.0
        x = dot.x + (gap if side == "start" else -gap)
        left = x if side == "start" else x - width
        box = (left, dot.y + shift - LINE / 2, left + width, dot.y + shift + LINE / 2)
        inside = box[0] >= SCATTER_LEFT and box[2] <= WIDTH and box[1] >= TOP and box[3] <= SCATTER_HEIGHT - BOTTOM
        if inside and not any(_overlap(box, other) for other in taken):
            return replace(dot, label_x=x, label_y=dot.y + shift, anchor=side), box
    return replace(dot, label=""), (dot.x, dot.y, dot.x, dot.y)


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
