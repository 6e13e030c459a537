"""Slimmable width: one training for several widths of a network, each the first channels of the next wider one."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from edgewright.compress.passes import Given, Pass
from edgewright.compress.training import Training
from edgewright.edits import Edit, difference
from edgewright.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgewright.compress.dynamic.widths import Slimmable


@dataclass(frozen=True)
class Slim:
    """The network at `width`, one of `widths` (fractions of the channels below 1), which are trained together.

    `epochs` of it, with `batch`, `learning_rate`, `seed`; 0 only cuts, for a module that was trained so before. In each
    step the full width learns the labels, the smallest and `between` others learn the answers of the full one. What
    stays of a layer is rounded up to a multiple of `round_to`.
    """

    width: float = 0.5
    widths: tuple[float, ...] = (0.75, 0.5, 0.25)
    epochs: int = 0
    batch: int = 64
    learning_rate: float = 3e-3
    seed: int = 0
    between: int = 1
    round_to: int = 1

    def __post_init__(self) -> None:
        problems = []
        if not self.widths or not all(0 < width < 1 for width in self.widths):
            problems.append(f"widths are {list(self.widths)}, wanted one or more fractions between 0 and 1")
        if len(set(self.widths)) != len(self.widths):
            problems.append(f"widths {list(self.widths)} name one twice")
        if self.width not in (*self.widths, 1.0):
            problems.append(f"width is {self.width}, wanted one of widths {list(self.widths)}, or 1")
        if self.epochs < 0 or self.between < 0 or self.round_to < 1:
            problems.append(
                f"epochs is {self.epochs}, between {self.between}, round_to {self.round_to}; wanted at least 0, 0 and 1"
            )
        if problems:
            raise BadInput("slim: " + "; ".join(problems))


def slim(module: "nn.Module", config: Slim, given: Given) -> "tuple[nn.Module, Edit]":
    """A copy of `module` at `config.width`, and the edit that replays its structure. Raises what `slimmable` raises."""
    narrow = train_widths(module, config, given).module_of(config.width)
    return narrow, Edit("slim", asdict(config), difference(module, narrow))


def widths(module: "nn.Module", config: Slim, given: Given) -> "dict[float, nn.Module]":
    """A copy of `module` at every width, the full one first, from one training. Raises what `slimmable` raises."""
    store = train_widths(module, config, given)
    return {width: store.module_of(width) for width in (1.0, *store.widths)}


def train_widths(module: "nn.Module", config: Slim, given: Given) -> "Slimmable":
    """One store of weights for all widths, with batch norms for each: Yu et al. 2019, "Slimmable Neural Networks"
    (arXiv 1812.08928); trained by the sandwich rule with in-place distillation: Yu & Huang 2019 (arXiv 1903.05134).

    Raises BadInput where no layer gets narrower, BadData where there are no labelled samples to train on.
    """
    from dataclasses import replace

    from torch.nn.functional import cross_entropy

    from edgewright.compress.dynamic.together import train_together
    from edgewright.compress.dynamic.widths import slimmable

    examples = tuple(given.example_inputs.values())
    store = slimmable(module, config.widths, examples, round_to=config.round_to, between=config.between)

    def loss(answers: "tuple[Tensor, ...]", labels: "Tensor") -> "Tensor":
        full, *narrow = answers
        taught = full.detach().softmax(1)
        total = cross_entropy(full, labels)
        for scores in narrow:
            total = total + cross_entropy(scores, taught)
        return total

    if config.epochs:
        settings = Training(config.epochs, config.batch, config.learning_rate, seed=config.seed)
        train_together(store, replace(given, finetune=settings), loss, "slim")
    return store.eval()


PASS = Pass("slim", Slim, slim, needs={"torch-pruning": "torch"}, uses_data=True)
