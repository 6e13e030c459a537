"""The whole road on Fashion-MNIST: a ResNet-18 of width 16 → StudentNet distilled → pruned → int8."""

from collections.abc import Sequence
from pathlib import Path

from edgewright.benchmarks.compress.ledgers import ledger, points, stages
from edgewright.benchmarks.quantization.table import Bar, Table

MOST_BYTES = 268_472
MOST_DROP_POINTS = 1.0
ALONE, TAUGHT, PRUNED = "trained", "trained+distill", "trained+distill+prune"
TFLITE, ONNX = f"{PRUNED} as tflite:int8", f"{PRUNED} as onnx:int8"


def measure(out: Path, seeds: Sequence[int]) -> Table:
    """Means over the seeds of the students, which have one teacher; drops are from StudentNet trained without it."""
    alone = [ledger("student", seed, out, ["tflite:float32"]) for seed in seeds]
    road = [ledger("road", seed, out) for seed in seeds]
    reference = points(alone, ALONE)
    bars = [Bar("points that the distilled student is above", points(road, TAUGHT) - reference, 0.0)]
    for stage in (TFLITE, ONNX):
        largest = max(run[stage]["size_bytes"] for run in road)
        bars.append(Bar(f"{stage}: bytes", largest, MOST_BYTES, at_most=True))
        bars.append(Bar(f"{stage}: drop in points", reference - points(road, stage), MOST_DROP_POINTS, at_most=True))
    title = f"The road of StudentNet on Fashion-MNIST, {len(seeds)} seed(s)"
    return Table(title, [*stages(alone, "StudentNet without a teacher"), *stages(road)], bars)
