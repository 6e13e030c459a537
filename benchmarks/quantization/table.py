"""What a benchmark gives: rows to read, and bars that are met or missed."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

Cell = str | float | int | None
Row = dict[str, Cell]


@dataclass(frozen=True)
class Bar:
    """A figure and the least (or, with `at_most`, the most) that it must be. NaN meets none."""

    what: str
    measured: float
    limit: float
    at_most: bool = False

    @property
    def met(self) -> bool:
        return self.measured <= self.limit if self.at_most else self.measured >= self.limit

    def __str__(self) -> str:
        sign = "≤" if self.at_most else "≥"
        return f"{'met   ' if self.met else 'MISSED'} {self.what}: {self.measured:.4g} (wanted {sign} {self.limit:g})"


@dataclass(frozen=True)
class Table:
    title: str
    rows: Sequence[Row]
    bars: Sequence[Bar] = ()

    def to_json(self) -> dict[str, Any]:
        bars = [asdict(bar) | {"met": bar.met} for bar in self.bars]
        return {"title": self.title, "rows": [dict(row) for row in self.rows], "bars": bars}

    def __str__(self) -> str:
        """Markdown; columns in the order of first appearance."""
        heads = list(dict.fromkeys(head for row in self.rows for head in row))
        lines = [f"## {self.title}", "", _line(heads), _line(["---"] * len(heads))]
        lines += [_line([_text(row.get(head)) for head in heads]) for row in self.rows]
        return "\n".join([*lines, "", *(f"- {bar}" for bar in self.bars), ""])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _text(cell: Cell) -> str:
    if cell is None:
        return "–"
    return f"{cell:.2f}" if isinstance(cell, float) else str(cell)


def number(cell: Cell) -> float:
    """A cell that a bar judges."""
    assert isinstance(cell, (int, float))
    return float(cell)
