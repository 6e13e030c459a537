"""What a student learns from inside its teacher: the features of a layer, or where that layer looks."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgewright.errors import BadInput

Kind = Literal["features", "attention"]
POOLS: Sequence[Any] = (
    lambda feature, _: feature,
    functional.adaptive_avg_pool1d,
    functional.adaptive_avg_pool2d,
    functional.adaptive_avg_pool3d,
)
"""Average pooling by the number of axes of positions."""


@dataclass(frozen=True)
class Hint:
    """A layer of the student that follows one of the teacher, compared where both have `positions`.

    `channels` are the student's and the teacher's.
    """

    student: str
    teacher: str
    kind: Kind
    positions: tuple[int, ...]
    channels: tuple[int, int]

    def seen(self, feature: Tensor) -> Tensor:
        """[n, channels, *positions] → what is compared: [n, channels, P], or a map [n, P] of unit length.

        The map of "attention" is the mean square over the channels (arXiv 1612.03928, F² of section 3.1).
        """
        if self.kind == "attention":
            energy = self._pooled(feature.square().mean(1, keepdim=True)).flatten(1)
            return functional.normalize(energy, dim=1)
        return self._pooled(feature).flatten(2) if feature.dim() > 2 else feature.unsqueeze(2)

    def distance(self, ours: Tensor, theirs: Tensor, projection: nn.Module) -> Tensor:
        """The scalar to descend, 0 where the student (first projected to the teacher's channels) sees the same.

        Features: the mean squared error over the teacher's mean square, so that it has no unit (FitNets, arXiv
        1412.6550, has it without the division). Attention: the mean length of the difference of maps.
        """
        if self.kind == "attention":
            length: Tensor = torch.linalg.vector_norm(ours - theirs, dim=1)
            return length.mean()
        return functional.mse_loss(projection(ours), theirs) / theirs.square().mean().clamp_min(1e-12)

    def projection(self) -> nn.Module:
        """A 1×1 convolution to the teacher's channels where features are compared; the student never keeps it."""
        return nn.Conv1d(*self.channels, 1) if self.kind == "features" else nn.Identity()

    def _pooled(self, feature: Tensor) -> Tensor:
        pooled: Tensor = POOLS[len(self.positions)](feature, self.positions)
        return pooled


class Taught(nn.Module):
    """A student, and beside it the projections that its hints need; it answers as the student does."""

    def __init__(self, student: nn.Module, hints: Sequence[Hint]) -> None:
        super().__init__()
        self.student = student
        self.projections = nn.ModuleList(hint.projection() for hint in hints)

    def forward(self, *inputs: Tensor) -> Any:
        return self.student(*inputs)


@contextmanager
def watched(module: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, Any]]:
    """What the named layers gave in the module's last call, by name."""
    found: dict[str, Any] = {}
    by_name = dict(module.named_modules())

    def keep(name: str) -> Any:
        return lambda _layer, _inputs, output: found.__setitem__(name, output)

    handles = [by_name[name].register_forward_hook(keep(name)) for name in dict.fromkeys(layers)]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def paired(
    student: nn.Module, teacher: nn.Module, pairs: Sequence[tuple[str, str]], kind: Kind, inputs: Sequence[Tensor]
) -> tuple[Hint, ...]:
    """The hints of `pairs` (student's layer, teacher's layer), their shapes found by one call of both in eval mode.

    Raises BadInput naming every layer that is absent, or gives nothing that can be compared.
    """
    problems = []
    for who, module, names in (
        ("student", student, [s for s, _ in pairs]),
        ("teacher", teacher, [t for _, t in pairs]),
    ):
        unknown = sorted(set(names) - set(dict(module.named_modules())))
        problems += [f"the {who} has no layer(s) {', '.join(map(repr, unknown))}"] if unknown else []
    if problems:
        raise BadInput("distill: hints: " + "; ".join(problems))
    with watched(student, [s for s, _ in pairs]) as ours, watched(teacher, [t for _, t in pairs]) as theirs:
        with torch.no_grad():
            student(*inputs), teacher(*inputs)
        hints = []
        for s, t in pairs:
            reason = _mismatch(ours.get(s), theirs.get(t), kind)
            if reason:
                problems.append(f"{s}={t}: {reason}")
            else:
                positions = tuple(min(sizes) for sizes in zip(ours[s].shape[2:], theirs[t].shape[2:], strict=True))
                hints.append(Hint(s, t, kind, positions, (ours[s].shape[1], theirs[t].shape[1])))
    if problems:
        raise BadInput("distill: hints: " + "; ".join(problems))
    return tuple(hints)


def _mismatch(ours: Any, theirs: Any, kind: Kind) -> str | None:
    for who, output in (("student", ours), ("teacher", theirs)):
        if output is None:
            return f"the {who} did not run this layer"
        if not isinstance(output, Tensor):
            return f"the {who}'s layer gives {type(output).__name__}, wanted a tensor"
        if not (3 if kind == "attention" else 2) <= output.dim() <= 5:
            return f"the {who}'s layer gives {tuple(output.shape)}, and {kind} wants [n, channels, positions…]"
    if ours.dim() != theirs.dim():
        return f"the layers give {ours.dim()} and {theirs.dim()} axes"
    return None
