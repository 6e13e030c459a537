"""One offline HTML page: no script, no address outside the file."""

from importlib.resources import files
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from edgewright.benchmarks.report.charts import SHAPES, latencies, noise_ratios, size_and_accuracy
from edgewright.benchmarks.report.content import FitCell, Report
from edgewright.benchmarks.report.lineage import family_tree
from edgewright.benchmarks.report.summary import cards, speed_sentence
from edgewright.benchmarks.units import bytes_text, ms_text, percent_text
from edgewright.errors import MissingExtra
from edgewright.staging import replacing

if TYPE_CHECKING:
    from jinja2 import Template


def render(report: Report, out: Path) -> None:
    """Write the page to the file `out`. Raises WriteFailed, and MissingExtra without jinja2."""
    html = html_of(report)
    with replacing(out) as aside:
        aside.write_text(html, encoding="utf-8")


def html_of(report: Report) -> str:
    """The page; the same report gives the same text."""
    rows = report.rows
    charts = (size_and_accuracy(rows), latencies(rows), noise_ratios(rows))
    return _template().render(
        report=report,
        cards=cards(report),
        charts=[chart for chart in charts if chart is not None],
        speed=speed_sentence(rows),
        lineage=family_tree(rows),
        fits={(cell.device, cell.artifact): cell for cell in report.fits},
        devices=_device_titles(report.fits, dict(report.devices)),
        formats=list(dict.fromkeys(row.format for row in rows)),
        shapes=SHAPES,
        infinite=inf,
    )


def _device_titles(fits: tuple[FitCell, ...], titles: dict[str, str]) -> dict[str, str]:
    return {cell.device: titles.get(cell.device, cell.device) for cell in fits}


def _template() -> "Template":
    try:
        from jinja2 import DictLoader, Environment, StrictUndefined
        from markupsafe import Markup
    except ImportError:
        raise MissingExtra("jinja2", "report", "writing the report") from None
    folder = files(__package__)
    sources = {name: folder.joinpath(name).read_text(encoding="utf-8") for name in ("page.html", "figures.html")}
    environment = Environment(
        loader=DictLoader(sources), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(bytes=bytes_text, ms=ms_text, percent=percent_text)
    environment.globals["css"] = Markup(folder.joinpath("page.css").read_text(encoding="utf-8"))
    return environment.get_template("page.html")
