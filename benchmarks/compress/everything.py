"""All at once on the watch network: pruning, low rank, distillation, int8, against its float original."""

from collections.abc import Sequence
from pathlib import Path

from edgewright.benchmarks.compress.ledgers import ledger, points, stages
from edgewright.benchmarks.quantization.table import Bar, Table

LEAST_RATIO = 10.0
MOST_DROP_POINTS = 1.0
ORIGINAL = "trained"
LAST = "trained+prune+factorize+distill as tflite:int8"


def measure(out: Path, seeds: Sequence[int]) -> Table:
    """Means over the seeds of the passes; the original is one. Its file and the last are TFLite files."""
    runs = [ledger("watch", seed, out) for seed in seeds]
    ratio = min(run[ORIGINAL]["size_bytes"] / run[LAST]["size_bytes"] for run in runs)
    bars = [
        Bar("times smaller than the float32 TFLite file", ratio, LEAST_RATIO),
        Bar("drop in points", points(runs, ORIGINAL) - points(runs, LAST), MOST_DROP_POINTS, at_most=True),
    ]
    return Table(f"Everything at once on the watch network, {len(seeds)} seed(s)", stages(runs), bars)
