"""Weight pruning: the smallest weights become zeros, which fine-tuning keeps."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from edgewright.compress.passes import Given, Pass
from edgewright.edits import Edit
from edgewright.errors import BadInput, nearest

if TYPE_CHECKING:
    from torch import Tensor, nn

SCOPES = ("layer", "global")
LAYERS = ("Linear", "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d",
          "LSTM", "GRU", "RNN")  # fmt: skip


@dataclass(frozen=True)
class Sparsify:
    """`amount` of the weights become zero: the smallest of every layer alike, or of the network (`scope` "global").

    `pattern` [n, m] instead keeps the n largest of every m weights that follow each other along the input channels. In
    more than one of `steps` the zeros grow by a cubic schedule, each step followed by fine-tuning. Layers named in
    `keep`, and below them, are left alone; so are weights of fewer than `smallest` elements.
    """

    amount: float = 0.5
    scope: str = "layer"
    pattern: tuple[int, ...] = ()
    steps: int = 1
    smallest: int = 0
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        problems = []
        if not 0 < self.amount < 1:
            problems.append(f"amount is {self.amount}, wanted a fraction between 0 and 1")
        if self.scope not in SCOPES:
            problems.append(f"scope is {self.scope!r}; {nearest(self.scope, SCOPES)}")
        if self.pattern and not (len(self.pattern) == 2 and 0 < self.pattern[0] < self.pattern[1]):
            problems.append(f"pattern is {list(self.pattern)}, wanted [n, m] with 0 < n < m")
        if self.pattern and self.steps > 1:
            problems.append("a pattern is made in one step")
        if self.steps < 1:
            problems.append(f"steps is {self.steps}, wanted 1 or more")
        if self.smallest < 0:
            problems.append(f"smallest is {self.smallest}, wanted 0 or more")
        if problems:
            raise BadInput("sparsify: " + "; ".join(problems))


def sparsify(module: "nn.Module", config: Sparsify, given: Given) -> "tuple[nn.Module, Edit]":
    """A copy of `module` with zeros among its weights, fine-tuned where `given` has settings and data for it.

    The structure stays. Magnitude as the criterion after Han et al. 2015 (arXiv 1506.02626), the schedule after Zhu and
    Gupta 2017 (arXiv 1710.01878), n:m after Zhou et al. 2021 (arXiv 2102.04010). The edit's `left` says of layers
    without new zeros why. Raises BadInput when `keep` names no layer, no layer can take zeros, fine-tuning is missing
    between steps, or a training function replaced a weight by one of another shape.
    """
    finetune, train, validation = given.finetune, given.train, given.validation
    learns = finetune is not None and train is not None and validation is not None
    if config.steps > 1 and not learns:
        raise BadInput(
            f"sparsify: {config.steps} steps need fine-tuning after each: give finetune, and data to learn from"
        )
    sparse = copy.deepcopy(module).eval()
    names, left = _weights(sparse, config)
    if not names:
        raise BadInput("sparsify: no weight can become zero" + "".join(f"; {n}: {why}" for n, why in left.items()))
    for step in range(1, config.steps + 1):
        masks = _masks(sparse, names, config, config.amount * (1 - (1 - step / config.steps) ** 3))
        _apply(sparse, masks)
        if finetune is not None and train is not None and validation is not None:
            with zeros_kept(sparse, masks):
                given.fit(sparse, train, validation, finetune, given.progress)
            sparse.eval()
    return sparse, Edit("sparsify", asdict(config), left=left)


@contextmanager
def zeros_kept(module: "nn.Module", masks: "Mapping[str, Tensor]") -> Iterator[None]:
    """Whatever trains `module` inside leaves the weights zero where their mask [of the weight's shape] is.

    Their gradients are zero, which Adam's and SGD's steps and decay keep; before each call, and at the end, they are
    set to zero again for optimizers that do not. Nothing of it stays in the module. Raises BadInput when a weight has
    another shape afterwards.
    """
    weights = [(module.get_parameter(name), mask) for name, mask in masks.items()]
    hooks = [weight.register_hook(mask.mul) for weight, mask in weights if weight.requires_grad]  # type: ignore[no-untyped-call]
    hooks.append(module.register_forward_pre_hook(lambda _module, _inputs: _apply(module, masks)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
    _apply(module, masks)


def _apply(module: "nn.Module", masks: "Mapping[str, Tensor]") -> None:
    import torch

    changed = [name for name, mask in masks.items() if module.get_parameter(name).shape != mask.shape]
    if changed:
        raise BadInput(f"sparsify: the training function gave {', '.join(changed)} another shape: zeros cannot be kept")
    with torch.no_grad():
        for name, mask in masks.items():
            weight = module.get_parameter(name)
            weight.masked_fill_(mask == 0, 0)  # not a product: that of a negative weight is -0


def _weights(module: "nn.Module", config: Sparsify) -> tuple[list[str], dict[str, str]]:
    """The names of the weights that may lose elements, and why others of such layers may not."""
    unknown = [name for name in config.keep if name not in dict(module.named_modules())]
    if unknown:
        raise BadInput(f"sparsify: keep names no layer(s) {unknown}")
    names, left = list[str](), dict[str, str]()
    for layer_name, layer in module.named_modules():
        for own, weight in layer.named_parameters(recurse=False):
            name = f"{layer_name}.{own}".lstrip(".")
            if weight.dim() < 2 or type(layer).__name__ not in LAYERS:
                continue
            reason = _reason(layer_name, layer, weight, config)
            if reason:
                left[name] = reason
            else:
                names.append(name)
    return names, left


def _reason(name: str, layer: "nn.Module", weight: "Tensor", config: Sparsify) -> str:
    """Why a weight takes no zeros; empty when it does."""
    if any(f"{name}.".startswith(f"{kept}.") for kept in config.keep):
        return "the recipe keeps it"
    if weight.numel() < config.smallest:
        return f"it has {weight.numel()} elements, less than {config.smallest}"
    inputs = weight.shape[_input_axis(layer)]
    if config.pattern and inputs % config.pattern[1]:
        return f"its {inputs} input channels (of each group) are no multiple of {config.pattern[1]}"
    return ""


def _input_axis(layer: "nn.Module") -> int:
    return 0 if getattr(layer, "transposed", False) else 1


def _masks(module: "nn.Module", names: list[str], config: Sparsify, amount: float) -> "dict[str, Tensor]":
    """1 where a weight stays, 0 where it goes. Ties go in order."""
    import torch

    sizes = {name: module.get_parameter(name).detach().abs() for name in names}
    if config.pattern:
        return {
            n: _pattern(s, _input_axis(module.get_submodule(n.rpartition(".")[0])), config.pattern)
            for n, s in sizes.items()
        }
    if config.scope == "layer":
        return {name: _largest(size.flatten(), amount).view_as(size) for name, size in sizes.items()}
    whole = _largest(torch.cat([size.flatten() for size in sizes.values()]), amount)
    parts = torch.split(whole, [size.numel() for size in sizes.values()])
    return {name: part.view_as(size) for (name, size), part in zip(sizes.items(), parts, strict=True)}


def _largest(sizes: "Tensor", amount: float) -> "Tensor":
    """1 for all but the smallest `amount` of a vector."""
    import torch

    mask = torch.ones_like(sizes)
    mask[torch.sort(sizes, stable=True).indices[: round(amount * len(sizes))]] = 0
    return mask


def _pattern(sizes: "Tensor", axis: int, pattern: tuple[int, ...]) -> "Tensor":
    """1 for the n largest of every m along an axis."""
    import torch

    most, of = pattern
    last = sizes.movedim(axis, -1)
    blocks = last.reshape(*last.shape[:-1], -1, of)
    order = torch.sort(blocks, dim=-1, descending=True, stable=True).indices[..., :most]
    return torch.zeros_like(blocks).scatter_(-1, order, 1).flatten(-2).movedim(-1, axis).contiguous()


PASS = Pass("sparsify", Sparsify, sparsify, needs={}, uses_data=False, finetunes=True)
