"""The ResNet-18 teacher without half of its MACs: accuracy after fine-tuning, and time in LiteRT."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from edgewright.benchmarks.compare import compare
from edgewright.benchmarks.compress.distillation import fashion, trained_teacher
from edgewright.benchmarks.compress.resume import remembered
from edgewright.benchmarks.quantization.table import Bar, Row, Table
from edgewright.compress.passes import Given
from edgewright.compress.prune import Prune, prune_channels
from edgewright.compress.training import Training, accuracy_of, train_classifier
from edgewright.data import Samples
from edgewright.runtimes.artifact import artifact_at

if TYPE_CHECKING:
    from torch import Tensor, nn

SEEDS = (0, 1, 2)
CHOSEN = Prune(0.5, target="macs", criterion="taylor", scope="global", round_to=8)
FORMS: Mapping[str, Prune] = {"taylor": CHOSEN, "l1": replace(CHOSEN, criterion="l1")}
REPAIR = Training(epochs=3, batch=128, learning_rate=2e-3)
MOST_DROP_POINTS, LEAST_SPEEDUP = 0.3, 1.7


def measure(out: Path, seeds: Sequence[int] = SEEDS, forms: Mapping[str, Prune] = FORMS) -> Table:
    """Means over the seeds of fine-tuning; the teacher is one. Bars on the first form."""
    data = fashion()
    teacher = trained_teacher(data, out)
    before = remembered(out, "pruning-teacher", lambda: {"test": accuracy_of(teacher, data.part("test"))})["test"]
    rows: list[Row] = [{"criterion": "–", "test top-1 %": f"{100 * before:.2f}"}]
    bars: list[Bar] = []
    for form, config in forms.items():
        runs = [remembered(out, f"pruning-{form}-{s}", partial(unit, teacher, data, config, s)) for s in seeds]
        speed = remembered(out, f"pruning-{form}-latency", partial(latency, teacher, data, config, out / form))
        rows.append({"criterion": form, **_row(runs, speed)})
        if not bars:
            drop = 100 * (before - mean(run["test"] for run in runs))
            bars.append(Bar(f"{form}, half the MACs: drop in points", drop, MOST_DROP_POINTS, at_most=True))
            bars.append(Bar(f"{form}, half the MACs: times faster in LiteRT", speed["ratio"], LEAST_SPEEDUP))
    return Table(f"Channel pruning of a ResNet-18 on Fashion-MNIST, {len(seeds)} seed(s)", rows, bars)


def pruned(teacher: "nn.Module", data: Samples, config: Prune) -> "nn.Module":
    """The teacher behind the pass, which sees the train part."""
    given = Given(_examples(), data.part("train"), data.part("validation"))
    return prune_channels(teacher, config, given)[0]


def unit(teacher: "nn.Module", data: Samples, config: Prune, seed: int, repair: Training = REPAIR) -> dict[str, Any]:
    """Pruned, then fine-tuned with this seed; the test part is read before and after."""
    from edgewright.compress.pruning.amounts import macs_of, parameters_of

    smaller, examples = pruned(teacher, data, config), _examples()
    figures = {
        "macs": macs_of(smaller, examples) / macs_of(teacher, examples),
        "parameters": parameters_of(smaller) / parameters_of(teacher),
        "at once": accuracy_of(smaller, data.part("test")),
    }
    train_classifier(smaller, data.part("train"), data.part("validation"), replace(repair, seed=seed))
    return figures | {"test": accuracy_of(smaller, data.part("test"))}


def latency(teacher: "nn.Module", data: Samples, config: Prune, folder: Path) -> dict[str, Any]:
    """Time of the teacher's float TFLite file over that of the pruned one, in turn on one thread."""
    files = [
        artifact_at(tflite_of(module, folder / f"{name}.tflite"))
        for name, module in (("whole", teacher), ("pruned", pruned(teacher, data, config)))
    ]
    found = compare(files[0], files[1])
    return {"ratio": found.ratio, "interval": list(found.interval), "median_ms": list(found.median_ms)}


def tflite_of(module: "nn.Module", path: Path) -> Path:
    """A float TFLite file, by the exporter: a sibling, which is therefore imported by name."""
    capture, simplify, tflite = (
        import_module(f"edgewright.export.{name}") for name in ("capture", "onnx.simplify", "tflite.convert")
    )
    model, _ = simplify.simplify(capture.capture_module(copy.deepcopy(module).eval(), _examples()))
    path.parent.mkdir(parents=True, exist_ok=True)
    tflite.write(path, tflite.convert(model))
    return path


def _examples() -> "dict[str, Tensor]":
    import torch

    return {"image": torch.zeros(1, 1, 32, 32)}


def _row(runs: Sequence[Mapping[str, Any]], speed: Mapping[str, Any]) -> Row:
    tests = [100 * run["test"] for run in runs]
    spread = f" ± {stdev(tests):.2f}" if len(tests) > 1 else ""
    low, high = speed["interval"]
    return {
        "MACs %": f"{100 * runs[0]['macs']:.1f}",
        "parameters %": f"{100 * runs[0]['parameters']:.1f}",
        "at once %": f"{100 * runs[0]['at once']:.2f}",
        "test top-1 %": f"{mean(tests):.2f}{spread}",
        "times faster": f"{speed['ratio']:.2f} [{low:.2f}, {high:.2f}]",
    }
