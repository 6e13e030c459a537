"""Early exits: easy samples leave the network at a small classifier on one of its first layers."""

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgewright.compress.dynamic.gate import RULES
from edgewright.compress.passes import Given
from edgewright.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgewright.compress.dynamic.heads import MultiExit


@dataclass(frozen=True)
class EarlyExit:
    """Heads on `layers`, named in the order in which data passes them.

    A head is an average pool to `pool` × `pool`, then one linear layer, or two with `hidden` features between.
    `frozen` trains the heads alone. `loss_weight` is what each head's loss counts beside the network's own.
    `confidence` is max_probability or entropy. The thresholds lose at most `drop` (0…1) accuracy on the validation
    part; or, with `mean_cost`, keep the mean cost below this fraction of all stages'.
    """

    layers: tuple[str, ...]
    pool: int = 1
    hidden: int = 0
    frozen: bool = False
    loss_weight: float = 0.5
    confidence: str = "max_probability"
    drop: float = 0.005
    mean_cost: float | None = None

    def __post_init__(self) -> None:
        problems = []
        if not self.layers or len(set(self.layers)) != len(self.layers):
            problems.append(f"layers are {list(self.layers)}, wanted one or more names, each once")
        if self.pool < 1 or self.hidden < 0:
            problems.append(f"pool is {self.pool}, hidden {self.hidden}; wanted at least 1 and 0")
        if self.loss_weight <= 0:
            problems.append(f"loss_weight is {self.loss_weight}, wanted more than 0")
        if self.confidence not in RULES:
            problems.append(f"confidence is {self.confidence!r}; known: {', '.join(RULES)}")
        if not 0 <= self.drop < 1:
            problems.append(f"drop is {self.drop}, wanted a fraction from 0 to 1")
        if self.mean_cost is not None and not 0 < self.mean_cost <= 1:
            problems.append(f"mean_cost is {self.mean_cost}, wanted a fraction between 0 and 1")
        if problems:
            raise BadInput("early exits: " + "; ".join(problems))


def with_exits(module: "nn.Module", config: EarlyExit, given: Given) -> "MultiExit":
    """A copy of `module` that gives the scores of every exit, trained where `given` has `finetune` settings and data.

    The joint loss is the weighted sum of all exits' cross entropies: Teerapittayanon et al. 2016, "BranchyNet"
    (arXiv 1709.01686). Raises BadInput naming each layer that cannot carry a head.
    """
    import torch

    from edgewright.compress.dynamic.heads import with_heads

    torch.manual_seed(given.finetune.seed if given.finetune else 0)
    backbone = copy.deepcopy(module).eval()
    examples = tuple(given.example_inputs.values())
    exits = with_heads(backbone, config.layers, examples, hidden=config.hidden, pool=config.pool)
    if given.finetune is not None:
        _train(exits, config, given)
    return exits.eval()


def _train(exits: "MultiExit", config: EarlyExit, given: Given) -> None:
    import torch
    from torch.nn.functional import cross_entropy

    from edgewright.compress.dynamic.together import train_together

    smoothing = given.finetune.label_smoothing if given.finetune else 0.0

    def loss(answers: "tuple[Tensor, ...]", labels: "Tensor") -> "Tensor":
        *early, last = (cross_entropy(scores, labels, label_smoothing=smoothing) for scores in answers)
        return torch.stack(early).sum() * config.loss_weight + last

    wanted = [parameter.requires_grad for parameter in exits.backbone.parameters()]
    exits.freeze(config.frozen)
    train_together(exits, given, loss, "early exits")
    exits.freeze(False)
    for parameter, flag in zip(exits.backbone.parameters(), wanted, strict=True):
        parameter.requires_grad_(flag)
