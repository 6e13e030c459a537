"""Knowledge distillation: a student learns from what one teacher, or the mean of several, says to each sample."""

import copy
import hashlib
import inspect
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgewright.compress.passes import Given, Pass
from edgewright.compress.training import Fit, Loss, Training, seeded, tensors_of, train_classifier
from edgewright.data import Samples
from edgewright.edits import Edit
from edgewright.errors import BadData, BadInput, BadModel
from edgewright.progress import Progress, Silent

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgewright.compress.teaching.answers import Answers
    from edgewright.compress.teaching.hints import Hint, Taught


@dataclass(frozen=True)
class Distill:
    """Loss: `alpha` · T² · KL(teacher ‖ student) at `temperature` T, (1 - `alpha`) · cross-entropy of the labels, and
    `hint_weight` times each of `hints`.

    `alpha` 1 needs no labels. `teacher` names factories or torch artifacts; or the module itself teaches `student`, a
    factory of another structure. A hint is "student's layer=layer of the first teacher"; `hint` says what is compared
    there: "features" or "attention". The rest are settings of the training.
    """

    teacher: tuple[str, ...] = ()
    student: str = ""
    temperature: float = 4.0
    alpha: float = 0.7
    hints: tuple[str, ...] = ()
    hint: str = "features"
    hint_weight: float = 1.0
    epochs: int = 30
    batch: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    patience: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        problems = []
        if not 0 < self.temperature < float("inf"):
            problems.append(f"temperature is {self.temperature}, wanted a positive number")
        if not 0 <= self.alpha <= 1:
            problems.append(f"alpha is {self.alpha}, wanted a fraction between 0 and 1")
        if self.alpha == 0 and not self.hints:
            problems.append("alpha is 0 and there are no hints: the teacher would teach nothing")
        if self.hint not in ("features", "attention"):
            problems.append(f"hint is {self.hint!r}, wanted 'features' or 'attention'")
        if not self.hint_weight > 0:
            problems.append(f"hint_weight is {self.hint_weight}, wanted a positive number")
        problems += [f"teacher {each!r} is no text" for each in self.teacher if not isinstance(each, str)]
        problems += [
            f"hint {each!r} is not 'student layer=teacher layer'"
            for each in self.hints
            if not isinstance(each, str) or not all(each.partition("=")[::2])
        ]
        try:
            _ = self.training
        except BadInput as error:
            problems.append(str(error))
        if problems:
            raise BadInput("distill: " + "; ".join(problems))

    @property
    def training(self) -> Training:
        return Training(
            self.epochs, self.batch, self.learning_rate, self.weight_decay, seed=self.seed, patience=self.patience
        )


def teach(
    student: "nn.Module",
    teachers: "Sequence[nn.Module]",
    train: Samples,
    validation: Samples,
    config: Distill,
    *,
    fit: Fit = train_classifier,
    progress: Progress | None = None,
    scratch: Path | None = None,
) -> float:
    """Train `student` in place, and leave it in eval mode with the weights of its best validation epoch.

    All modules take the inputs of the samples in their order and give class scores [n, classes] before softmax. The
    teachers' answers are computed once, for the samples as they are. In the folder `scratch` they and the training's
    state outlive a kill, and the same call goes on there to the same weights.
    Returns the best validation accuracy (0…1); where the validation part has no labels, the agreement with the teacher.

    Hinton et al. 2015, "Distilling the Knowledge in a Neural Network" (arXiv 1503.02531); hints: Romero et al. 2015,
    "FitNets" (arXiv 1412.6550); Zagoruyko, Komodakis 2017, "Paying More Attention to Attention" (arXiv 1612.03928).
    Raises BadInput, BadModel or BadData for a teacher that does not match, a hint between layers that do not, labels
    that are missing, or a `fit` that takes no loss.
    """
    from edgewright.compress.teaching.answers import answers, softened
    from edgewright.compress.teaching.hints import Taught, watched

    progress = progress or Silent()
    with seeded(config.seed):
        teachers = [copy.deepcopy(teacher).eval() for teacher in teachers]
        hints = _checked(student, teachers, train, validation, config)
        taught = Taught(student, hints)
        run = _fitted(fit, scratch and scratch / _key(teachers, config))
        scores = [
            answers(teacher, train, hints if index == 0 else (), progress, scratch)
            for index, teacher in enumerate(teachers)
        ]
        if validation.labels is None:
            said = [answers(teacher, validation, (), progress, scratch) for teacher in teachers]
            choices = softened(said, config.temperature, np.arange(len(validation))).argmax(1)
            validation = replace(validation, labels=choices.numpy())
    with watched(student, [hint.student for hint in hints]) as seen:
        loss = _loss(config, taught, hints, seen, scores, train)
        best: float = run(taught, train, validation, config.training, progress, loss=loss)
    student.eval()
    return best


def distill_module(module: "nn.Module", config: Distill, given: Given) -> "tuple[nn.Module, Edit]":
    """A trained copy of `module`, or of the student that it teaches together with the teachers, and an edit.

    See `teach` for what is done and what is refused.
    """
    if given.train is None or given.validation is None:
        raise BadData("distill needs samples with a train and a validation part")
    student = copy.deepcopy(module if given.student is None else given.student)
    teachers = [*([] if given.student is None else [module]), *given.teachers]
    teach(
        student, teachers, given.train, given.validation, config,
        fit=given.fit, progress=given.progress, scratch=given.scratch,
    )  # fmt: skip
    return student, Edit("distill", asdict(config))


def _loss(
    config: Distill,
    taught: "Taught",
    hints: "Sequence[Hint]",
    seen: "dict[str, Tensor]",
    scores: "Sequence[Answers]",
    train: Samples,
) -> Loss:
    """The loss of `Distill` for a batch; `seen` holds what the student's layers gave in the call before."""
    import torch
    from torch.nn import functional

    from edgewright.compress.teaching.answers import at, softened

    labels = None if train.labels is None else torch.from_numpy(train.labels.astype(np.int64))

    def loss(outputs: "Tensor", rows: "Tensor") -> "Tensor":
        index = rows.numpy()
        total = outputs.new_zeros(())
        if config.alpha > 0:
            target = softened(scores, config.temperature, index)
            ours = functional.log_softmax(outputs / config.temperature, dim=1)
            divergence = functional.kl_div(ours, target, reduction="batchmean")
            total = total + config.alpha * config.temperature**2 * divergence
        if config.alpha < 1 and labels is not None:
            total = total + (1 - config.alpha) * functional.cross_entropy(outputs, labels[rows])
        for hint, projection, shown in zip(hints, taught.projections, scores[0].shown, strict=True):
            distance = hint.distance(hint.seen(seen[hint.student]), at(shown, index), projection)
            total = total + config.hint_weight * distance
        return total

    return loss


def _fitted(fit: Fit, place: Path | None) -> Any:
    """The training function, with the folder of its checkpoints where it takes one. Raises BadInput without `loss`."""
    takes = inspect.signature(fit).parameters
    if "loss" not in takes:
        name = getattr(fit, "__name__", "it")
        raise BadInput(
            f"distill: the training function {name} takes no `loss`: add a keyword loss=None and, where it is given, "
            "descend loss(outputs, rows) with the rows of the batch in the train part; or leave the function out"
        )

    def run(*arguments: Any, loss: Loss) -> Any:
        chosen: Any = fit
        return chosen(*arguments, loss=loss, **({"checkpoints": place} if "checkpoints" in takes else {}))

    return run


def _checked(
    student: "nn.Module", teachers: "Sequence[nn.Module]", train: Samples, validation: Samples, config: Distill
) -> "tuple[Hint, ...]":
    """The hints. Raises one error that lists all that is wrong with the data, or with the modules."""
    from edgewright.compress.teaching.hints import paired

    if not teachers:
        raise BadInput("distill: there is no teacher: name one in `teacher`, or in `student` whom the module teaches")
    _check_data(train, validation, config)
    inputs = [tensor[:2] for tensor in tensors_of(train)]
    student = copy.deepcopy(student).eval()
    wanted = _scores(student, inputs, "the student")
    problems = []
    for number, teacher in enumerate(teachers, 1):
        shape = _scores(teacher, inputs, f"teacher {number}")
        if shape != wanted:
            problems.append(f"teacher {number} gives {list(shape)}, the student {list(wanted)}")
    if len(wanted) != 2 or wanted[1] < 2:
        problems.append(f"the student gives {list(wanted)}, wanted [n, classes] with two classes or more")
    elif config.alpha < 1 and train.labels is not None and train.labels.max() >= wanted[1]:
        problems.append(f"labels go up to {train.labels.max()}, but the student has {wanted[1]} classes")
    if problems:
        raise BadModel("distill: " + "; ".join(problems))
    pairs = [(hint.partition("=")[0].strip(), hint.partition("=")[2].strip()) for hint in config.hints]
    kind: Any = config.hint
    return paired(student, teachers[0], pairs, kind, inputs)


def _check_data(train: Samples, validation: Samples, config: Distill) -> None:
    problems = [
        f"the {name} part is empty" for name, part in (("train", train), ("validation", validation)) if not len(part)
    ]
    if config.alpha < 1 and train.labels is None:
        problems.append(f"alpha is {config.alpha}, which needs labels, and the train part has none: set alpha = 1")
    if problems:
        raise BadData("distill: " + "; ".join(problems))


def _scores(module: "nn.Module", inputs: "Sequence[Tensor]", who: str) -> tuple[int, ...]:
    """The shape of what a module gives. Raises BadModel when it fails, or gives anything but a tensor."""
    import torch

    try:
        with torch.no_grad():
            output = module(*inputs)
    except Exception as error:
        shapes = [tuple(each.shape) for each in inputs]
        raise BadModel(f"distill: {who} failed on inputs {shapes}: {type(error).__name__}: {error}") from error
    if not isinstance(output, torch.Tensor):
        raise BadModel(f"distill: {who} gives {type(output).__name__}, wanted one tensor of class scores")
    return tuple(output.shape)


def _key(teachers: "Sequence[nn.Module]", config: Distill) -> str:
    """The folder of one loss: what it depends on beside the data."""
    from edgewright.compress.checkpoint import module_digest

    identity = ([module_digest(teacher) for teacher in teachers], asdict(config))
    return f"distill-{hashlib.sha256(repr(identity).encode()).hexdigest()[:16]}"


PASS = Pass("distill", Distill, distill_module, needs={}, uses_data=True, references=("teacher", "student"))
