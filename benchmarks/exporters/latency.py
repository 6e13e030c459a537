"""Our files against the peers' in LiteRT: one thread, in turn, decided on the ratios of neighbours."""

from collections.abc import Sequence
from statistics import median

from edgewright.benchmarks.compare import Comparison, compare
from edgewright.benchmarks.exporters.environments import PEERS
from edgewright.benchmarks.exporters.files import Files, Network
from edgewright.benchmarks.exporters.processes import REASON
from edgewright.benchmarks.quantization.table import Bar, Row, Table
from edgewright.errors import Error
from edgewright.runtimes.artifact import artifact_at

PRECISIONS = ("float32", "int8")
PROCESSES = 3
MOST_EACH, MOST_MEDIAN = 1.02, 1.0
CHANNELS_LAST = ("onnx2tf",)
"""Peers whose image files take channels last: ours with that layout is compared with them."""


def of_precision(files: Files, names: Sequence[str], precision: str) -> Table:
    """Bars: the ratio to the fastest peer, of each network and in the median."""
    rows: list[Row] = []
    bars: list[Bar] = []
    ratios: list[float] = []
    for network in map(files.network, names):
        found = {peer: against(files, network, peer, precision) for peer in PEERS}
        rows += [_row(network, peer, result) for peer, result in found.items()]
        judged = {peer: result for peer, result in found.items() if isinstance(result, Comparison)}
        if judged:
            fastest = min(judged, key=lambda peer: judged[peer].median_ms[1])
            ratios.append(judged[fastest].ratio)
            what = f"{network.name} {precision}: latency, ours / {fastest}"
            bars.append(Bar(what, ratios[-1], MOST_EACH, at_most=True))
    if ratios:
        bars.append(Bar(f"{precision}: latency ratio in the median", median(ratios), MOST_MEDIAN, at_most=True))
    return Table(f"Latency of {precision} files in LiteRT, 1 thread", rows, bars)


def against(files: Files, network: Network, peer: str, precision: str) -> Comparison | str:
    """A is ours. In place of the comparison, why there is none."""
    layout = "nhwc" if network.images and peer in CHANNELS_LAST else "original"
    files.say(f"{network.name}: latency of {precision} against {peer}")
    try:
        pair = files.ours(network, precision, layout), files.file(network, peer, precision)
        return compare(artifact_at(pair[0]), artifact_at(pair[1]), processes=PROCESSES, runtime="litert")
    except Error as error:
        return " ".join(str(error).split())[:REASON]


def _row(network: Network, peer: str, found: Comparison | str) -> Row:
    row: Row = {"network": network.name, "peer": peer}
    if isinstance(found, str):
        return row | {"ratio": found}
    low, high = found.interval
    return row | {
        "ours": found.a,
        "ours ms": f"{found.median_ms[0]:.3f}",
        "peer ms": f"{found.median_ms[1]:.3f}",
        "ratio": f"{found.ratio:.3f}",
        "95 %": f"{low:.3f} … {high:.3f}",
    }
