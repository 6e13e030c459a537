"""Structured pruning: remove whole channels by the norm of their filters, through every layer that depends on them."""

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from edgewright.compress.passes import Given, Pass
from edgewright.edits import Edit, difference
from edgewright.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Prune:
    """`amount` of the channels of every prunable layer go; what stays is rounded up to a multiple of `round_to`.

    `norm` is 1 or 2: the L1 or L2 norm of a channel's filter is its importance. Layers named in `keep` are left alone.
    """

    amount: float = 0.5
    norm: int = 1
    round_to: int = 1
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        problems = []
        if not 0 < self.amount < 1:
            problems.append(f"amount is {self.amount}, wanted a fraction between 0 and 1")
        if self.norm not in (1, 2):
            problems.append(f"norm is {self.norm}, wanted 1 or 2")
        if self.round_to < 1:
            problems.append(f"round_to is {self.round_to}, wanted 1 or more")
        if problems:
            raise BadInput("prune: " + "; ".join(problems))


def prune_channels(module: "nn.Module", config: Prune, given: Given) -> "tuple[nn.Module, Edit]":
    """A copy of `module` with fewer channels, and the edit that replays its structure. The outputs keep their size.

    Filter-norm importance: Li et al. 2017, "Pruning Filters for Efficient ConvNets" (arXiv 1608.08710); coupled
    layers by the dependency graph of torch-pruning: Fang et al. 2023, "DepGraph" (arXiv 2301.12900).
    Raises BadInput when `keep` names no layer, or nothing can be removed.
    """
    import torch_pruning  # type: ignore[import-untyped]

    pruned = copy.deepcopy(module).eval()
    examples = tuple(given.example_inputs.values())
    pruner = torch_pruning.BasePruner(
        pruned,
        examples,
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=config.norm),
        pruning_ratio=config.amount,
        ignored_layers=_ignored(pruned, config.keep, examples),
        round_to=config.round_to if config.round_to > 1 else None,
    )
    pruner.step()
    resized = difference(module, pruned)
    if not resized:
        raise BadInput(f"prune: no channel can be removed at amount {config.amount}, round_to {config.round_to}")
    return pruned, Edit("prune", asdict(config), resized)


def _ignored(module: "nn.Module", keep: Sequence[str], examples: "tuple[Tensor, ...]") -> "list[nn.Module]":
    """Layers named by the user, and those whose channels are channels of an output of the model."""
    layers = dict(module.named_modules())
    unknown = [name for name in keep if name not in layers]
    if unknown:
        raise BadInput(f"prune: keep names no layer(s) {unknown}")
    result = module(*examples)
    outputs = result.values() if isinstance(result, dict) else result if isinstance(result, (tuple, list)) else [result]
    weights = _last_weights([output.grad_fn for output in outputs])
    ends = [layer for layer in layers.values() if any(p in weights for p in map(id, layer.parameters(recurse=False)))]
    return ends + [layers[name] for name in keep]


def _last_weights(nodes: list[Any]) -> set[int]:
    """The ids of the weights nearest to the outputs, found by walking the autograd graph back to the first matrix."""
    found: set[int] = set()
    seen: set[Any] = set()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        parents = [parent for parent, _ in node.next_functions]
        matrices = [m for parent in parents if (m := _matrix(parent)) is not None]
        found.update(map(id, matrices))
        nodes += [] if matrices else parents
    return found


def _matrix(node: Any) -> "Tensor | None":
    """The parameter of two or more axes that an autograd node stands for, seen through Linear's transpose."""
    while node is not None and "TBackward" in type(node).__name__:
        node = node.next_functions[0][0]
    parameter: Tensor | None = getattr(node, "variable", None)
    return parameter if parameter is not None and parameter.dim() > 1 else None


PASS = Pass("prune", Prune, prune_channels, needs={"torch-pruning": "torch"})
