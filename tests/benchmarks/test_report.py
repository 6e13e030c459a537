"""The report: complete, offline, well formed, escaped, and silent about winners inside the noise."""

import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from edgewright.benchmarks.report.charts import latencies, noise_ratios, short, size_and_accuracy
from edgewright.benchmarks.report.content import ArtifactRow, FitCell, FitReason, LatencyFigure, Report, StepRow
from edgewright.benchmarks.report.lineage import BOX_HEIGHT, family_tree
from edgewright.benchmarks.report.page import html_of, render
from edgewright.benchmarks.report.scale import Scale, spanning
from edgewright.benchmarks.report.summary import cards, fastest, speed_sentence
from edgewright.errors import MissingExtra, WriteFailed

VOID = {"meta", "link", "br", "img", "hr", "input"}


def latency(median: float, half: float = 0.001) -> LatencyFigure:
    return LatencyFigure(median, median * 1.1, median - half, median + half, "measured", "onnxruntime")


def row(
    name: str, parent: str | None, size: int, accuracy: float | None, snr: float | None, **more: object
) -> ArtifactRow:
    format_, _, precision = name.partition(":")
    filled = ArtifactRow(
        name=name,
        format=format_,
        precision=precision or "float32",
        size_bytes=size,
        digest=(name.encode().hex() * 8)[:64],
        status="original" if parent is None else "verified" if snr is not None else "unverified",
        reason="" if snr is not None or parent is None else "Core ML runs on macOS only",
        parent=parent,
        accuracy=accuracy,
        accuracy_drop=None if accuracy is None else 0.862 - accuracy,
        snr_db=snr,
        agreement=None if snr is None else 0.99,
        fidelity_reason="Core ML runs on macOS only" if snr is None else "",
        latency_reason="no runtime for coreml here",
    )
    return replace(filled, **more)  # type: ignore[arg-type]


ROWS = (
    row("torch:float32", None, 99_000, 0.862, None, latency=latency(0.61, 0.02), peak_ram_bytes=190_000_000),
    row("torch:pruned", "torch:float32", 61_000, 0.858, 21.0, latency=latency(0.55, 0.01), precision="float32"),
    row("onnx:float32", "torch:pruned", 64_000, 0.858, 118.0, latency=latency(0.082), peak_ram_bytes=37_000_000),
    row("onnx:float16", "onnx:float32", 34_000, 0.858, 61.0, latency=latency(0.14), peak_ram_bytes=37_500_000),
    row(
        "onnx:int8",
        "onnx:float32",
        27_000,
        0.855,
        36.9,
        latency=latency(0.0545),
        flags=("may be unstable: …",),
    ),
    row("tflite:float32", "onnx:float32", 62_500, 0.858, 121.0, latency=latency(0.048), peak_ram_bytes=11_000_000),
    row("tflite:float16", "onnx:float32", 33_000, 0.858, 62.0, latency=latency(0.0485)),
    row("tflite:int8", "onnx:int8", 24_000, 0.855, 36.8, latency=latency(0.0551)),
    row("coreml:float32", "onnx:float32", 70_000, None, None),
    row("coreml:float16", "onnx:float32", 41_000, None, None),
    row("coreml:int8", "onnx:int8", 33_500, None, None),
)
REPORT = Report(
    title="Exercises on a watch",
    created="2025-06-01 12:00 UTC",
    intro="A 1-D CNN for seven exercises, pruned to 60 % of its channels.",
    rows=ROWS,
    fits=tuple(
        FitCell(
            device,
            artifact.name,
            verdict,
            (FitReason("storage", verdict, "24.0 kB (measured) of 75.0 MB (measured): 0.0 %"),),
        )
        for artifact in ROWS[2:]
        for device, verdict in (("apple-watch-s9", "NO"), ("wear-os-w5", "FITS"), ("nrf5340", "TIGHT"))
    ),
    devices=(("apple-watch-s9", "Apple Watch Series 9 / Ultra 2"), ("nrf5340", "Nordic nRF5340")),
    steps=(
        StepRow("capture", "torch:pruned", "onnx:float32", 3.21, False, "opset 21, 24 nodes"),
        StepRow("tflite-int8", "onnx:int8", "tflite:int8", 0.04, True),
    ),
    host=(("CPU", "AMD EPYC"), ("cores", "2")),
    environment=(("torch", "2.13.0"), ("onnxruntime", "1.32.0")),
    inputs=(("data", "watch.npz"), ("seed", "0")),
    commands=("edgewright build watch.py:model --for apple-watch-s9 --data watch.npz",),
)


class Outline(HTMLParser):
    """Checks that elements nest, and collects tags with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1] == tag, f"</{tag}> closes <{self.open[-1]}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "script"):
            self.text.append(data)


def test_page_is_well_formed_and_shows_every_artifact() -> None:
    outline = Outline(html_of(REPORT))
    assert outline.open == []
    text = " ".join(outline.text)
    for artifact in ROWS:
        assert artifact.name in text
        assert artifact.digest in text
    for wanted in ("121.0 dB", "48.0 µs", "85.8 %", "24.0 kB", "edgewright build watch.py:model", "from the store"):
        assert wanted in text
    assert [tag for tag, _ in outline.tags].count("svg") == 3 + 3 + 1  # legend keys, plots, lineage


def test_page_loads_nothing() -> None:
    html = html_of(REPORT)
    outline = Outline(html)
    assert not [tag for tag, _ in outline.tags if tag in ("script", "link", "img", "iframe", "object")]
    assert not [(tag, a) for tag, a in outline.tags if {"src", "href", "xlink:href", "srcset"} & set(a)]
    assert not re.search(r"https?:|url\(|@import", html)


def test_tables_have_header_cells_with_a_scope() -> None:
    outline = Outline(html_of(REPORT))
    headers = [attributes.get("scope") for tag, attributes in outline.tags if tag == "th"]
    assert set(headers) == {"col", "row"}
    assert headers.count("row") == len(ROWS) * 2 + len(REPORT.steps)


def test_a_format_that_a_device_does_not_load_is_no_alarm() -> None:
    other = FitCell("nrf5340", "onnx:int8", "NO", (FitReason("format", "NO", "nrf5340 loads tflite:…, not onnx:int8"),))
    html = html_of(replace(REPORT, fits=(other,)))
    assert '<span class="badge no-format">NO, format</span>' in html
    assert "nrf5340 loads tflite:…, not onnx:int8" in html
    assert 'class="badge no"' not in html


def test_names_are_escaped() -> None:
    evil = '<script>alert("x")</script>'
    html = html_of(replace(REPORT, title=evil, rows=(replace(ROWS[0], name=evil, reason=evil),), commands=(evil,)))
    assert "<script" not in html
    assert html.count("&lt;script&gt;") >= 4
    assert Outline(html).open == []


def test_a_report_with_nothing_but_a_row_says_why_values_are_missing() -> None:
    lone = replace(ROWS[-1], parent=None)
    html = html_of(Report("t", "now", (lone,)))
    outline = Outline(html)
    assert outline.open == []
    assert "no runtime for coreml here" in " ".join(outline.text)
    assert 'title="Core ML runs on macOS only"' in html
    assert "Nothing was timed." in " ".join(Outline(html_of(Report("t", "now", (replace(lone, snr_db=20.0),)))).text)


def test_an_empty_report_is_a_page_without_plots() -> None:
    outline = Outline(html_of(Report("t", "now", ())))
    assert outline.open == []
    assert "svg" not in [tag for tag, _ in outline.tags]


def test_an_artifact_that_answers_exactly_alike_has_no_finite_ratio() -> None:
    exact = replace(ROWS[2], snr_db=float("inf"))
    text = " ".join(Outline(html_of(replace(REPORT, rows=(ROWS[0], exact, ROWS[3])))).text)
    assert "identical" in text
    chart = noise_ratios((exact, ROWS[3]))
    assert chart is not None
    assert [tick.label for tick in chart.y_ticks] == ["onnx:float16"]
    assert noise_ratios((exact,)) is None


def test_without_jinja2_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtra, match=r"pip install 'edgewright\[report\]'"):
        html_of(REPORT)


def luminance(color: str) -> float:
    """Relative luminance of #rgb or #rrggbb (WCAG 2.2)."""
    digits = color[1:] if len(color) == 7 else "".join(2 * digit for digit in color[1:])
    channels = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_colours_have_contrast(scheme: int) -> None:
    css = (Path(__file__).parents[2] / "benchmarks/report/page.css").read_text()
    colors: dict[str, str] = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{3,6});", css.split(":root")[1 + scheme]))
    words = [(ink, back) for ink in ("ink", "quiet") for back in ("page", "panel", "faint")]
    words += [(tone, f"{tone}-back") for tone in ("good", "warn", "bad", "note")]
    marks = [(format_, "panel") for format_ in ("torch", "onnx", "tflite", "tflm", "coreml", "plain")]
    for pairs, wanted in ((words, 4.5), (marks, 3.0)):
        for ink, back in pairs:
            dark, light = sorted((luminance(colors[ink]), luminance(colors[back])))
            assert (light + 0.05) / (dark + 0.05) >= wanted, (ink, back)


def test_the_same_report_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.html", "b.html"):
        render(REPORT, tmp_path / name)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "b.html"]


def test_an_unwritable_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteFailed, match="File exists; nothing was kept"):
        render(REPORT, tmp_path / "file" / "report.html")


def test_no_winner_inside_the_noise() -> None:
    assert fastest(ROWS) == ["tflite:float32", "tflite:float16"]
    assert speed_sentence(ROWS) == "No winner is named: the intervals of tflite:float32 and tflite:float16 overlap."
    without = [artifact for artifact in ROWS if artifact.name != "tflite:float16"]
    assert speed_sentence(without).startswith("tflite:float32 is the fastest")


def test_a_modelled_latency_never_wins() -> None:
    modelled = replace(ROWS[7], latency=replace(latency(0.001), origin="modelled"))
    assert fastest((ROWS[2], modelled)) == ["onnx:float32"]
    chart = latencies((ROWS[2], modelled))
    assert chart is not None
    assert [dot.hollow for dot in chart.dots] == [False, True]


def test_what_diverged_is_no_winner() -> None:
    wrong = replace(ROWS[7], status="diverged", size_bytes=10, latency=latency(0.002), snr_db=-3.0)
    assert fastest((*ROWS[:3], wrong)) == ["onnx:float32"]
    found = {card.label: card.detail for card in cards(replace(REPORT, rows=(*ROWS[:3], wrong)))}
    assert found["Smallest file"] == "torch:pruned, 62 % of torch:float32"


def test_a_deviation_above_the_signal_is_drawn_from_its_figure_to_zero() -> None:
    chart = noise_ratios((ROWS[1], replace(ROWS[2], snr_db=-3.0)))
    assert chart is not None
    assert all(dot.whisker is not None and dot.whisker[0] < dot.whisker[1] for dot in chart.dots)


def test_long_names_keep_their_begin_and_their_end() -> None:
    names = [f"a_factory_with_a_long_name+prune+distill:tflite:{precision}" for precision in ("float16", "float32")]
    assert [short(name) for name in names] == ["a_facto…tflite:float16", "a_facto…tflite:float32"]
    assert short("onnx:int8") == "onnx:int8"


def test_no_drop_has_no_minus() -> None:
    rows = (ROWS[0], replace(ROWS[1], accuracy_drop=0.0), replace(ROWS[2], accuracy_drop=0.0004))
    assert re.findall(r"[+−]\d\.\d pts", html_of(replace(REPORT, rows=rows))) == ["+0.0 pts"] * 2


def test_cards_take_their_figures_from_the_rows() -> None:
    found = {card.label: (card.value, card.detail) for card in cards(REPORT)}
    assert found["Smallest file"] == ("24.0 kB", "tflite:int8, 24 % of torch:float32")
    assert found["Accuracy of the original"] == ("86.2 %", "at most 0.7 points lost (tflite:int8)")
    assert found["Verified"] == ("7 of 10", "3 unverified")
    assert found["Devices served"] == ("2 of 3", "nothing fits apple-watch-s9")
    assert found["Steps from the store"] == ("1 of 2", "3.2 s of work in this run")
    assert cards(Report("t", "now", ())) == []


def test_charts_keep_dots_inside_and_labels_apart() -> None:
    chart = size_and_accuracy(ROWS)
    assert chart is not None
    assert all(chart.left <= dot.x <= chart.right and chart.top <= dot.y <= chart.bottom for dot in chart.dots)
    assert all(dot.label for dot in chart.dots)
    spots = [(dot.label_x, dot.label_y, dot.anchor) for dot in chart.dots]
    assert len(set(spots)) == len(spots)
    assert size_and_accuracy(ROWS[-2:]) is None
    assert noise_ratios(ROWS[-2:]) is None


def test_scale_ticks_are_one_two_five() -> None:
    linear = Scale(0, 1, 0, 100)
    assert [tick.label for tick in linear.ticks(lambda v: f"{v:g}")] == [
        "0",
        "0.2",
        "0.4",
        "0.6",
        "0.8",
        "1",
    ]
    log = Scale(9, 210, 0, 100, log=True)
    assert [tick.label for tick in log.ticks(lambda v: f"{v:g}")] == ["10", "20", "50", "100", "200"]
    assert log(9) == 0
    assert log(210) == 100
    assert spanning([3.0], 0, 1, zero=False).low < 3.0 < spanning([3.0], 0, 1, zero=False).high
    assert spanning([0.0, 0.0], 0, 1, zero=False).high > 0


def test_lineage_puts_children_right_of_their_parent_and_apart() -> None:
    drawn = family_tree(ROWS)
    place = {artifact.name: node for artifact, node in zip(ROWS, drawn.nodes, strict=True)}
    for artifact in ROWS:
        if artifact.parent:
            assert place[artifact.name].x > place[artifact.parent].x
    columns: dict[float, list[float]] = {}
    for node in drawn.nodes:
        columns.setdefault(node.x, []).append(node.y)
    for column in columns.values():
        column.sort()
        assert all(below - above >= BOX_HEIGHT for above, below in pairwise(column))
    assert len(drawn.edges) == len(ROWS) - 1
    assert family_tree((replace(ROWS[3], parent="absent"),)).edges == []
