"""How big the files are, metadata aside, and which operators they hold."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from edgewright.benchmarks.exporters import answers
from edgewright.benchmarks.exporters.environments import OURS, OURS_MIXED, PEERS
from edgewright.benchmarks.exporters.files import PRECISIONS, Files, Network
from edgewright.benchmarks.quantization.table import Bar, Row, Table
from edgewright.runtimes.read import read
from edgewright.runtimes.tflite_view import open_tflite

MOST = 1.0


def sizes(files: Files, names: Sequence[str], precisions: Sequence[str] = PRECISIONS) -> Table:
    """Bars: ours against the smallest peer's that runs with XNNPACK and without; others stand in the table."""
    rows: list[Row] = []
    bars: list[Bar] = []
    for network in map(files.network, names):
        for precision in precisions:
            found = files.of_all(network, precision)
            made = {name: size_bytes(path) for name, path in found.items() if isinstance(path, Path)}
            dead = {name: where for name in made if (where := fails_in(network, found[name]))}
            row: Row = {"network": network.name, "precision": precision}
            cells: Row = {
                name: f"{made[name]} (fails in {dead[name]})" if name in dead else made.get(name, "none")
                for name in found
            }
            rows.append(row | cells)
            peers = [made[name] for name in PEERS if name in made and name not in dead]
            if peers:
                ours = made.get(OURS_MIXED, made.get(OURS, float("nan")))
                ratio = ours / min(peers)
                bars.append(Bar(f"{network.name} {precision}: size, ours / smallest peer's", ratio, MOST, at_most=True))
    return Table("Bytes, metadata buffers aside", rows, bars)


def fails_in(network: Network, made: Path | str) -> str:
    """Where LiteRT does not answer: with XNNPACK, without, or in both; empty when it answers in both."""
    wrong = (name for name in answers.LITERT if not answers.is_right(answers.apart(name, Path(made), network)))
    return ", ".join(wrong)


def size_bytes(path: Path) -> int:
    return path.stat().st_size - sum(map(len, open_tflite(path).metadata.values()))


def operators(files: Files, names: Sequence[str]) -> Table:
    rows: list[Row] = []
    for network in map(files.network, names):
        for precision in ("float32", "int8"):
            for name, path in files.of_all(network, precision).items():
                if isinstance(path, Path):
                    rows.append({"network": network.name, "file": f"{name} {precision}", **inventory(path)})
    return Table("Operators", rows)


def inventory(path: Path) -> Row:
    """How many operators, and how many of each."""
    counts = Counter(op.op_type for op in read(path).ops)
    listed = ", ".join(f"{count} {name}" for name, count in counts.most_common())
    return {"count": counts.total(), "operators": listed}
