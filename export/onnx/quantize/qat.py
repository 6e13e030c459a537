"""Quantization-aware training: the int8 truth itself is fine-tuned, on the grids that calibration chose."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgewright.data import Samples
from edgewright.errors import BadData, BadInput
from edgewright.export.onnx.differentiable.descent import Loss, Tensors, answers_of, descend, distance, shuffled
from edgewright.export.onnx.differentiable.graph import TorchGraph, stacked
from edgewright.export.onnx.differentiable.write_back import write_back
from edgewright.export.onnx.quantize.quantized import Quantized, answers, shown_db
from edgewright.export.steps import Job, Notes
from edgewright.export.verify import snr_db
from edgewright.progress import Progress
from edgewright.runtimes.contract import Contract

if TYPE_CHECKING:
    import onnx_ir as ir
    from torch import Tensor

FEWEST = 8  # samples that train and that judge


@dataclass(frozen=True)
class Qat:
    """Adam with a rate that falls along a cosine; `learning_rate` counts in steps of the weights' grids.

    `distill` weighs the distance to the float network's outputs against the cross entropy with the labels (1: labels
    are not used; data without labels, or outputs that are no class scores [n, classes], leave the distance alone).
    """

    epochs: int = 10
    batch: int = 32
    learning_rate: float = 0.2
    distill: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 1 or self.learning_rate <= 0 or not 0 <= self.distill <= 1:
            raise BadInput(f"qat wants epochs ≥ 1, batch ≥ 1, a positive learning rate, distill in 0…1, got {self}")


@dataclass(frozen=True)
class Score:
    """On the validation part; compared by accuracy first (0 without labels)."""

    accuracy: float
    snr_db: float

    def beats(self, other: "Score") -> bool:
        return (self.accuracy, self.snr_db) > (other.accuracy, other.snr_db)


def fine_tune(
    float_model: "ir.Model",
    quantized: Quantized,
    contract: Contract,
    train: Samples,
    validation: Samples,
    settings: Qat,
    progress: Progress,
) -> tuple[Quantized, Notes]:
    """The int8 model of the epoch that does best on `validation`, the given one (epoch 0) included.

    Gradients pass the rounding straight through (Jacob et al. 2018, arXiv 1712.05877); scales and zero points stay, bit
    for bit. Deterministic for a seed. Raises BadData when the loss is not finite, UnsupportedOps for operators that
    cannot be differentiated.
    """
    student, teacher = TorchGraph(quantized.model, quantized.masters), TorchGraph(float_model, {})
    inputs = stacked(contract, train)
    calls = len(next(iter(inputs.values())))
    per_epoch = -(-calls // settings.batch)
    rows = shuffled(calls, settings.batch, settings.epochs * per_epoch, settings.seed)
    loss = _loss(student, quantized.model, answers_of(teacher, inputs), _call_labels(train, calls), settings.distill)
    judge = _Judge(contract, validation, answers(float_model, contract, validation))
    best, scores, best_epoch = quantized, [judge.score(quantized.model)], 0
    with progress.task(f"quantization-aware training, {settings.epochs} epochs", len(rows)) as advance:
        for done, _ in enumerate(descend(student, inputs, loss, rows, settings.learning_rate), 1):
            advance(1)
            if done % per_epoch == 0:
                candidate = write_back(student, quantized)
                scores.append(judge.score(candidate.model))
                if scores[-1].beats(scores[best_epoch]):
                    best, best_epoch = candidate, len(scores) - 1
    return best, _notes(scores, best_epoch, train, validation)


def parts(job: Job, calibration: Samples) -> tuple[Samples, Samples]:
    """Samples to train on and to judge by, without the test part: data with no `train` part trains on `calibration`.

    Without a validation part every fourth sample is held out. Raises BadData when too few are left.
    """
    train = job.train if job.train is not None and len(job.train) else calibration
    validation = job.validation
    if validation is None or not len(validation):
        held_out = np.arange(len(train)) % 4 == 3
        train, validation = train.at(~held_out), train.at(held_out)
    if min(len(train), len(validation)) < FEWEST:
        raise BadData(
            f"quantization-aware training has {len(train)} samples to train on and {len(validation)} to validate; "
            f"it wants {FEWEST} of each at least: give more data, or mark them in `split`"
        )
    return train, validation


@dataclass(frozen=True)
class _Judge:
    contract: Contract
    samples: Samples
    reference: list[NDArray[Any]]

    def score(self, model: "ir.Model") -> Score:
        given = answers(model, self.contract, self.samples)
        labels = None if self.samples.labels is None else self.samples.labels[: len(given[0])]
        ranked = labels is not None and given[0].ndim == 2 and given[0].shape[1] > 1
        accuracy = float(np.mean(given[0].argmax(1) == labels)) if ranked else 0.0
        return Score(accuracy, min(map(snr_db, self.reference, given)))


def _call_labels(train: Samples, calls: int) -> "Tensor | None":
    """Labels [calls, samples of a call]."""
    import torch

    if train.labels is None:
        return None
    size = len(train) // calls
    return torch.from_numpy(train.labels[: calls * size].astype(np.int64)).reshape(calls, size)


def _loss(student: TorchGraph, model: "ir.Model", targets: Tensors, labels: "Tensor | None", distill: float) -> Loss:
    near = distance(targets)
    scores = student.outputs[0]
    if labels is None or distill == 1 or targets[scores].shape[1:-1] != labels.shape[1:]:
        return near
    known, are_probabilities = labels, _ends_in_softmax(model)

    def loss(given: Tensors, rows: "Tensor") -> "Tensor":
        from torch.nn import functional

        logits = given[scores].flatten(0, 1)
        logs = logits.clamp_min(2**-9).log() if are_probabilities else logits.log_softmax(1)
        return distill * near(given, rows) + (1 - distill) * functional.nll_loss(logs, known[rows].flatten())

    return loss


def _ends_in_softmax(model: "ir.Model") -> bool:
    """Whether the first output is a Softmax, also through its Q/DQ pair."""
    value = model.graph.outputs[0]
    while (node := value.producer()) is not None and node.op_type in ("DequantizeLinear", "QuantizeLinear"):
        if node.inputs[0] is None:
            break
        value = node.inputs[0]
    return node is not None and node.op_type == "Softmax"


def _notes(scores: list[Score], best_epoch: int, train: Samples, validation: Samples) -> Notes:
    labelled = validation.labels is not None
    return {
        "best_epoch": best_epoch,
        "kept": best_epoch > 0,
        "accuracy": [round(score.accuracy, 4) for score in (scores[0], scores[best_epoch])] if labelled else None,
        "snr_db": [shown_db(score.snr_db) for score in (scores[0], scores[best_epoch])],
        "train_samples": len(train),
        "validation_samples": len(validation),
    }
