"""Which artifact was made from which: a tree from left to right, drawn by `figures.html`."""

from collections.abc import Sequence
from dataclasses import dataclass

from edgewright.benchmarks.report.charts import short
from edgewright.benchmarks.report.content import ArtifactRow
from edgewright.benchmarks.units import bytes_text

BOX_WIDTH, BOX_HEIGHT, GAP_X, GAP_Y, MARGIN = 168.0, 50.0, 56.0, 14.0, 4.0


@dataclass(frozen=True)
class Node:
    x: float
    y: float
    name: str
    detail: str
    format: str
    status: str


@dataclass(frozen=True)
class Lineage:
    """`edges` are (x, y) of the right end of a parent's box and of the left end of its child's."""

    nodes: Sequence[Node]
    edges: Sequence[tuple[float, float, float, float]]
    width: float
    height: float
    box_width: float = BOX_WIDTH
    box_height: float = BOX_HEIGHT


def family_tree(rows: Sequence[ArtifactRow]) -> Lineage:
    """Leaves stand below each other, a parent beside its first child. An absent parent makes a root."""
    names = {row.name for row in rows}
    children: dict[str | None, list[ArtifactRow]] = {}
    for row in rows:
        children.setdefault(row.parent if row.parent in names else None, []).append(row)
    places: dict[str, tuple[float, float]] = {}
    leaves = _place(children, None, -1, 0, places)
    nodes = [Node(*places[row.name], short(row.name, 20), _detail(row), row.format, row.status) for row in rows]
    edges = [
        (places[parent][0] + BOX_WIDTH, places[parent][1] + BOX_HEIGHT / 2, places[row.name][0], _middle(places, row))
        for parent, made in children.items()
        if parent is not None
        for row in made
    ]
    width = max((x for x, _ in places.values()), default=0.0) + BOX_WIDTH + MARGIN
    return Lineage(nodes, edges, width, leaves * (BOX_HEIGHT + GAP_Y) - GAP_Y + 2 * MARGIN)


def _place(
    children: dict[str | None, list[ArtifactRow]],
    name: str | None,
    depth: int,
    leaves: int,
    places: dict[str, tuple[float, float]],
) -> int:
    """Fill `places` below `name`; gives the number of leaves placed so far."""
    first = leaves
    for child in children.get(name, ()):
        leaves = _place(children, child.name, depth + 1, leaves, places)
    if name is None:
        return leaves
    leaves = max(leaves, first + 1)
    below = [places[child.name][1] for child in children.get(name, ())]
    y = below[0] if below else MARGIN + first * (BOX_HEIGHT + GAP_Y)
    places[name] = (MARGIN + depth * (BOX_WIDTH + GAP_X), y)
    return leaves


def _middle(places: dict[str, tuple[float, float]], row: ArtifactRow) -> float:
    return places[row.name][1] + BOX_HEIGHT / 2


def _detail(row: ArtifactRow) -> str:
    return f"{bytes_text(row.size_bytes)} · {row.status}"
