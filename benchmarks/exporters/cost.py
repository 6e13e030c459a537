"""What a conversion costs: CPU time and memory from ONNX, and the whole process from torch, in turn with each peer."""

import tempfile
from collections.abc import Sequence
from functools import partial
from statistics import median

from edgewright.benchmarks.exporters.drivers.probe import Job
from edgewright.benchmarks.exporters.environments import OURS
from edgewright.benchmarks.exporters.files import Files, Network
from edgewright.benchmarks.exporters.processes import Cost, Whole, command_line, converted
from edgewright.benchmarks.exporters.turns import in_turn, ratio
from edgewright.benchmarks.quantization.table import Bar, Row, Table
from edgewright.errors import BadInput

ROUNDS, ROUNDS_FROM_TORCH = 3, 2
WARM = "cnn_1d"
"""The network that each process converts first, so that its imports are done."""

LEAST_FROM_ONNX, LEAST_FROM_TORCH = 3.0, 1.5
MOST_WRITER_S = 0.2
MOST_SIZES, MOST_EXTRA_MB = 3.0, 30.0
NONE = float("nan")


def from_onnx(files: Files, names: Sequence[str]) -> Table:
    """Ours against onnx2tf, behind the imports; both start from the file that torch's exporter wrote."""
    warm = str(files.network(WARM).onnx)
    rows: list[Row] = []
    bars: list[Bar] = []
    for network in map(files.network, names):
        files.say(f"{network.name}: cost from ONNX")
        job = Job(str(network.onnx), str(network.folder / "cost.tflite"), warm=warm)
        run = partial(converted, job=job, environments=files.environments)
        ours, theirs = in_turn(ROUNDS, partial(run, OURS), partial(run, "onnx2tf"))
        row: Row = {"network": network.name, **_inside(OURS, ours), **_inside("onnx2tf", theirs)}
        gain, peak, writer = NONE, NONE, NONE
        if not isinstance(ours, str):
            peak = median(cost.peak_bytes for cost in ours) / 1e6
            writer, row["writer alone s"] = _writer(files, network, warm)
        if not isinstance(ours, str) and not isinstance(theirs, str):
            gain = row["CPU ratio"] = ratio([cost.cpu_s for cost in theirs], [cost.cpu_s for cost in ours])
            row["whole ratio"] = ratio([cost.whole.cpu_s for cost in theirs], [cost.whole.cpu_s for cost in ours])
        if not isinstance(theirs, str):
            bars.append(Bar(f"{network.name}: CPU from ONNX, onnx2tf / ours", gain, LEAST_FROM_ONNX))
        allowed = MOST_SIZES * network.onnx.stat().st_size / 1e6 + MOST_EXTRA_MB
        bars.append(Bar(f"{network.name}: peak in MB", peak, allowed, at_most=True))
        if network.name == "mobilenet_v2":
            bars.append(Bar(f"{network.name}: writer alone in s", writer, MOST_WRITER_S, at_most=True))
        rows.append(row)
    return Table(
        f"ONNX → float32 .tflite: CPU seconds and peak memory behind the imports, median of {ROUNDS}", rows, bars
    )


def from_torch(files: Files, names: Sequence[str]) -> Table:
    """Whole processes: our command line, which verifies its hops too, against litert-torch."""
    rows: list[Row] = []
    bars: list[Bar] = []
    for network in map(files.network, names):
        files.say(f"{network.name}: cost from torch")
        ours, theirs = in_turn(
            ROUNDS_FROM_TORCH, partial(_ours_from_torch, network), partial(_litert_torch, files, network)
        )
        row: Row = {"network": network.name, **_whole(OURS, ours), **_whole("litert-torch", theirs)}
        gain = NONE
        if not isinstance(ours, str) and not isinstance(theirs, str):
            gain = row["CPU ratio"] = ratio([whole.cpu_s for whole in theirs], [whole.cpu_s for whole in ours])
        if not isinstance(theirs, str):
            bars.append(Bar(f"{network.name}: CPU from torch, litert-torch / ours", gain, LEAST_FROM_TORCH))
        rows.append(row)
    return Table(f"torch → float32 .tflite: whole processes, median of {ROUNDS_FROM_TORCH}", rows, bars)


def _inside(name: str, costs: list[Cost] | str) -> Row:
    if isinstance(costs, str):
        return {f"{name} CPU s": costs}
    return {
        f"{name} CPU s": median(cost.cpu_s for cost in costs),
        f"{name} peak MB": median(cost.peak_bytes for cost in costs) / 1e6,
        f"{name} whole CPU s": median(cost.whole.cpu_s for cost in costs),
    }


def _whole(name: str, wholes: list[Whole] | str) -> Row:
    if isinstance(wholes, str):
        return {f"{name} CPU s": wholes}
    return {f"{name} CPU s": median(w.cpu_s for w in wholes), f"{name} wall s": median(w.wall_s for w in wholes)}


def _writer(files: Files, network: Network, warm: str) -> tuple[float, float | str]:
    """CPU seconds from the clean ONNX graph to the file, as a number and as a cell: that may be why there are none."""
    clean = network.folder / "clean.onnx"
    try:
        command_line(["convert", str(network.onnx), str(clean), "--store", str(network.folder / "store")])
        job = Job(str(clean), str(network.folder / "cost.tflite"), "writer", warm=warm)
        spent = median(converted(OURS, job, files.environments).cpu_s for _ in range(ROUNDS))
    except BadInput as error:
        return NONE, str(error)
    return spent, spent


def _ours_from_torch(network: Network) -> Whole:
    """With an empty store: nothing is taken from an earlier run."""
    with tempfile.TemporaryDirectory() as folder:
        factory = f"edgewright.benchmarks.exporters.networks:{network.name}"
        return command_line(["convert", factory, f"{folder}/out.tflite", "--store", f"{folder}/store"])


def _litert_torch(files: Files, network: Network) -> Whole:
    job = Job(network.name, str(network.folder / "cost.tflite"))
    return converted("litert-torch", job, files.environments).whole
