"""`early_exit` and `staged`: a network with exits as a folder of stages, thresholds and what they bring."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgewright.api.bench import bench as bench_files
from edgewright.api.convert import convert
from edgewright.api.files import load, open_artifact
from edgewright.api.request import samples_of
from edgewright.api.staged_session import MANIFEST, VERSION, StageFile, run_all_stages
from edgewright.compress.dynamic.calibrate import Outcome, calibrate, outcome
from edgewright.compress.dynamic.gate import Gate
from edgewright.compress.early_exit import EarlyExit, with_exits
from edgewright.compress.passes import Given
from edgewright.compress.training import Training
from edgewright.data import Samples
from edgewright.errors import BadData, BadInput, Error
from edgewright.export.capture import write_module
from edgewright.progress import Progress, Silent
from edgewright.runtimes.artifact import FORMAT_OF_SUFFIX
from edgewright.runtimes.contract import Contract, TensorInfo
from edgewright.runtimes.module import require_torch
from edgewright.runtimes.runtime import Session
from edgewright.staging import replacing

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgewright.compress.dynamic.stages import Stage

SUFFIXES = tuple(suffix for suffix in FORMAT_OF_SUFFIX if suffix not in (".torch", ".pt2"))
CALIBRATION_SAMPLES, PROBES = 256, 32


@dataclass(frozen=True)
class Staged:
    """What was written to `out`. `validation` set the thresholds; `test` is read once, behind them.

    Costs are MACs: of the network without exits, and of a sample that leaves nowhere early, heads included.
    """

    out: Path
    stages: tuple[StageFile, ...]
    gate: Gate
    validation: Outcome
    test: Outcome
    full_accuracy: float
    network_macs: int

    @property
    def worst_macs(self) -> int:
        return sum(stage.macs for stage in self.stages)

    @property
    def latency_ms(self) -> tuple[float, float] | None:
        """Expected on the test part and worst, the medians of the stages added; None where they were not timed."""
        times = [stage.latency_ms for stage in self.stages if stage.latency_ms is not None]
        if len(times) < len(self.stages):
            return None
        return float(np.dot(self.test.rates, np.cumsum(times))), sum(times)


def early_exit(
    model: str,
    out: Path | str,
    config: EarlyExit,
    *,
    data: str,
    training: Training | None = None,
    suffix: str = ".tflite",
    precision: str = "float32",
    bench: bool = True,
    store: Path | str | None = None,
    progress: Progress | None = None,
) -> Staged:
    """The factory's module with exits, trained (`training`: joint, or heads alone with `config.frozen`), as `staged`.

    `model` is ``package.module:factory`` or ``file.py:factory`` and `data` labelled DATA. Without `training` the heads
    are as they were made, so that no sample leaves at them with profit. Raises a subclass of `edgewright.Error`.
    """
    require_torch()
    import torch

    from edgewright.runtimes.module import factory as factories

    samples = samples_of(model, data)
    assert samples is not None
    torch.manual_seed(training.seed if training else 0)
    product = factories.make(factories.find(model))
    examples = product.example_inputs or {
        name: torch.from_numpy(array[:1].copy()) for name, array in samples.inputs.items()
    }
    given = Given(examples, samples.part("train"), samples.part("validation"), training, progress=progress or Silent())
    exits = with_exits(product.module, config, given)
    return staged(
        exits, examples, samples, out, config,
        suffix=suffix, precision=precision, bench=bench, store=store, progress=progress,
    )  # fmt: skip


def staged(
    exits: "nn.Module",
    examples: "Mapping[str, Tensor]",
    samples: Samples,
    out: Path | str,
    config: EarlyExit,
    *,
    suffix: str = ".tflite",
    precision: str = "float32",
    bench: bool = True,
    store: Path | str | None = None,
    progress: Progress | None = None,
) -> Staged:
    """Write `exits`, a module that gives the scores of every exit in order, as a folder of stages with its manifest.

    Thresholds are set on the answers of the written files to the validation part; accuracy and exit rates are those of
    the test part. Every file is verified on the way. Raises BadData without labels, BadInput for examples of more than
    one sample, and what `convert` raises.
    """
    from edgewright.compress.dynamic.stages import cut, macs_of

    _check(examples, samples, suffix)
    out, progress = Path(out), progress or Silent()
    stages = cut(exits, examples)
    backbone = getattr(exits, "backbone", None)
    with replacing(out) as folder:
        folder.mkdir()
        files = _write(stages, examples, samples, folder, suffix, precision, store, progress)
        if bench:
            files = _timed(files, folder, progress)
        sessions = [load(folder / stage.file) for stage in files]
        result = _judged(files, sessions, samples, config, progress)
        macs = macs_of(backbone, examples.values()) if backbone is not None else result.worst_macs
        result = replace(result, out=out, network_macs=macs)
        text = json.dumps(manifest(result, _contract(exits, examples)), indent=1)
        (folder / MANIFEST).write_text(text + "\n")
    return result


def manifest(result: Staged, contract: Contract) -> dict[str, Any]:
    """All that an app needs to run the stages, and what was found with them."""
    times = result.latency_ms
    return {
        "version": VERSION,
        "what": "Run the stages in order; each takes the model's inputs and earlier stages' outputs by name. Behind "
        "each but the last apply the gate's rule to its scores (the first output): the answer is that of the stage "
        "where a sample leaves.",
        "contract": json.loads(contract.to_json()),
        "stages": [asdict(stage) | {"scores": stage.scores} for stage in result.stages],
        "gate": result.gate.to_json(),
        "full_accuracy": result.full_accuracy,
        "validation": asdict(result.validation),
        "test": asdict(result.test),
        "macs": {"network": result.network_macs, "expected": result.test.mean_cost, "worst": result.worst_macs},
        "latency_ms": {"expected": times[0], "worst": times[1]} if times else None,
    }


def _check(examples: "Mapping[str, Tensor]", samples: Samples, suffix: str) -> None:
    problems = []
    if suffix not in SUFFIXES:
        problems.append(f"stages are written as {', '.join(SUFFIXES)}, not as {suffix!r}")
    if any(example.shape[:1] != (1,) for example in examples.values()):
        problems.append("each sample leaves where it can, so stages take one: give example inputs [1, …]")
    if problems:
        raise BadInput("; ".join(problems))
    if samples.labels is None or not len(samples.part("validation")) or not len(samples.part("test")):
        raise BadData("early exits need labelled samples: a validation part for thresholds, a test part to report")


def _write(
    stages: "Sequence[Stage]",
    examples: "Mapping[str, Tensor]",
    samples: Samples,
    folder: Path,
    suffix: str,
    precision: str,
    store: Path | str | None,
    progress: Progress,
) -> list[StageFile]:
    """Each stage by way of ONNX, calibrated and verified on what the stages before it give for real samples."""
    import torch

    work = folder / "work"
    work.mkdir()
    kept = [samples.part("calibration").first(CALIBRATION_SAMPLES), samples.part("validation").first(PROBES)]
    split = np.repeat(["calibration", "test"], [len(part) for part in kept])
    rows = {name: np.concatenate([part.inputs[name] for part in kept]) for name in samples.inputs}
    held = {name: torch.from_numpy(rows[name]) for name in examples}
    made = dict(examples)
    files = []
    for index, stage in enumerate(stages, 1):
        onnx, data = work / f"stage_{index}.onnx", work / f"stage_{index}.npz"
        given = {name: made[name] for name in stage.inputs}
        with torch.no_grad():
            made |= dict(zip(stage.outputs, stage.module(*given.values()), strict=True))
        contract = Contract(_infos(given), _infos({name: made[name] for name in stage.outputs}))
        write_module(stage.module, given, contract, onnx)
        np.savez(data, split=split, **{name: held[name].numpy() for name in stage.inputs})
        file = folder / f"stage_{index}{suffix}"
        convert(str(onnx), file, data=str(data), precision=precision, store=store, progress=progress)
        held |= _through(stage, held)
        size = open_artifact(file).size_bytes
        files.append(StageFile(file.name, stage.inputs, stage.outputs, stage.macs, size))
    shutil.rmtree(work)
    return files


def _through(stage: "Stage", held: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
    """A stage's outputs for all samples, one by one: its shapes are fixed."""
    import torch

    columns = [torch.split(held[name], 1) for name in stage.inputs]
    with torch.no_grad():
        answers = [stage.module(*row) for row in zip(*columns, strict=True)]
    return {name: torch.cat(each) for name, each in zip(stage.outputs, zip(*answers, strict=True), strict=True)}


def _timed(files: Sequence[StageFile], folder: Path, progress: Progress) -> list[StageFile]:
    """The stages with their median CPU times; without, and said so, where one cannot be timed here."""
    timings = bench_files([folder / stage.file for stage in files], progress=progress)
    for failed in (each for each in timings if isinstance(each, Error)):
        progress.say(f"not timed: {failed}")
    return [
        stage if isinstance(each, Error) else replace(stage, latency_ms=each.cpu_median_ms)
        for stage, each in zip(files, timings, strict=True)
    ]


def _judged(
    files: Sequence[StageFile], sessions: Sequence[Session], samples: Samples, config: EarlyExit, progress: Progress
) -> Staged:
    costs = [stage.macs for stage in files]
    validation, test = samples.part("validation"), samples.part("test")
    assert validation.labels is not None and test.labels is not None
    with progress.task("run all stages", 2) as advance:
        seen = run_all_stages(files, sessions, validation.inputs)
        advance(1)
        final = run_all_stages(files, sessions, test.inputs)
        advance(1)
    gate = calibrate(
        seen, validation.labels, costs, confidence=config.confidence, drop=config.drop, mean_cost=config.mean_cost
    )
    return Staged(
        Path(),
        tuple(files),
        gate,
        outcome(gate, seen, validation.labels, costs),
        outcome(gate, final, test.labels, costs),
        float((final[-1].argmax(axis=1) == test.labels).mean()),
        0,
    )


def _contract(exits: "nn.Module", examples: "Mapping[str, Tensor]") -> Contract:
    import torch

    with torch.no_grad():
        scores = exits(*examples.values())[-1]
    return Contract(_infos(examples), (*_infos({"output": scores}), TensorInfo("exit", (1,), "int64")))


def _infos(tensors: "Mapping[str, Tensor]") -> tuple[TensorInfo, ...]:
    return tuple(
        TensorInfo(name, tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
        for name, tensor in tensors.items()
    )
