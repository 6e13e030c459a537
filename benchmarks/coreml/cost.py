"""What MobileNetV2 costs on its way to a Core ML file, and one image in the evaluator."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

from edgewright.benchmarks.exporters.drivers.probe import Job
from edgewright.benchmarks.exporters.files import Files, Network
from edgewright.benchmarks.exporters.processes import run
from edgewright.benchmarks.quantization.table import Bar, Row, Table
from edgewright.errors import BadInput
from edgewright.runtimes.artifact import digest_of
from edgewright.runtimes.mil.session import MilSession

NETWORK, WARM = "mobilenet_v2", "cnn_1d"
"""The second one is converted first in each process, so that its imports are done."""

ROUNDS, IMAGES = 3, 5
MOST_CPU_S, MOST_IMAGE_S = 2.0, 0.5
MOST_SIZES, MOST_EXTRA_MB = 3.0, 100.0
DRIVER = "edgewright.benchmarks.coreml.driver"


def measure(out: Path, say: Callable[[str], None] = lambda _: None) -> Table:
    """Processes with one thread each; seconds and bytes behind the imports. Raises BadInput when a conversion fails."""
    files = Files(out, out / "peers", say)
    network, warm = files.network(NETWORK), files.network(WARM)
    costs = []
    for number in range(ROUNDS):
        say(f"{NETWORK}: conversion {number + 1} of {ROUNDS}")
        costs.append(converted(network, warm, _package(network, number)))
    digests = {digest_of(_package(network, number)) for number in range(ROUNDS)}
    cpu, peak = (median(cost[key] for cost in costs) for key in ("cpu_s", "peak_bytes"))
    size_mb, peak_mb = network.onnx.stat().st_size / 1e6, peak / 1e6
    load, image = evaluated(network, _package(network, 0))
    row: Row = {"network": NETWORK, "ONNX MB": size_mb, "CPU s": cpu, "peak MB": peak_mb}
    row |= {"different files": len(digests), "evaluator: load s": load, "evaluator: image s": image}
    bars = [
        Bar("CPU from ONNX in s", cpu, MOST_CPU_S, at_most=True),
        Bar("peak in MB", peak_mb, MOST_SIZES * size_mb + MOST_EXTRA_MB, at_most=True),
        Bar("different files", len(digests), 1, at_most=True),
        Bar("evaluator, one image, in s", image, MOST_IMAGE_S, at_most=True),
    ]
    return Table(f"ONNX → float32 .mlpackage, median of {ROUNDS}; evaluator, median of {IMAGES}", [row], bars)


def converted(network: Network, warm: Network, out: Path) -> dict[str, float]:
    """CPU seconds, wall seconds and peak bytes of one conversion."""
    job = Job(str(network.onnx), str(out), warm=str(warm.onnx))
    answer = json.loads(run([sys.executable, "-m", DRIVER, job.to_json()]).output)
    if "error" in answer:
        raise BadInput(f"{network.name}: {answer['error']}")
    costs: dict[str, float] = answer
    return costs


def evaluated(network: Network, package: Path) -> tuple[float, float]:
    """CPU seconds to load the package, and of one image, float16 rounding included."""
    x = np.load(network.samples("test"))
    started = cpu_s()
    session = MilSession(package)
    load, [end] = cpu_s() - started, session.contract.inputs
    spent = []
    for number in range(IMAGES + 1):  # the first one wakes kernels up
        started = cpu_s()
        session.run({end.name: x[number % len(x)][None]})
        spent.append(cpu_s() - started)
    return load, median(spent[1:])


def cpu_s() -> float:
    spent = os.times()
    return spent.user + spent.system


def _package(network: Network, number: int) -> Path:
    return network.folder / f"cost_{number}.mlpackage"
