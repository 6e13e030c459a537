"""Depthwise-separable convolutions in the place of full ones, begun from the singular vectors of the original."""

import copy
from dataclasses import asdict, dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from edgewright.compress.factors.depthwise import Depthwise, random_weights
from edgewright.compress.factors.inputs import batches
from edgewright.compress.factors.layers import CONVOLUTIONS, Seen, seen_layers
from edgewright.compress.factors.parts import cost, put
from edgewright.compress.factors.refit import refit
from edgewright.compress.passes import Given, Pass
from edgewright.edits import Edit
from edgewright.errors import BadInput

if TYPE_CHECKING:
    from torch import nn

INITS = ("svd", "random")
WEIGHTINGS = ("auto", "inputs", "none")
OUTPUTS_PER_KERNEL = 4
"""More outputs for each depthwise kernel see too little: a first layer of few channels is left, as in MobileNet."""


@dataclass(frozen=True)
class Separate:
    """Every convolution of more than one position → depthwise with `multiplier` kernels a channel, then 1×1.

    `init` "svd" begins from the original's weights, "random" from torch's (seeded by `seed`). `weighting` "inputs"
    fits the 1×1 half by least squares to what the original gave on `samples` samples of the train part, layer after
    layer; "auto" does so where there are samples and init is "svd". Layers named in `keep` are left alone, and those
    with more than four outputs for each depthwise kernel.
    """

    multiplier: int = 1
    init: str = "svd"
    weighting: str = "auto"
    samples: int = 128
    seed: int = 0
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        problems = [
            f"{name} is {getattr(self, name)!r}, wanted one of {', '.join(allowed)}"
            for name, allowed in {"init": INITS, "weighting": WEIGHTINGS}.items()
            if getattr(self, name) not in allowed
        ]
        problems += [
            f"{name} is {getattr(self, name)}, wanted 1 or more"
            for name in ("samples", "multiplier")
            if getattr(self, name) < 1
        ]
        if self.init == "random" and self.weighting == "inputs":
            problems.append('weighting "inputs" goes with init "svd"')
        if problems:
            raise BadInput("separate: " + "; ".join(problems))


def separate(module: "nn.Module", config: Separate, given: Given) -> "tuple[nn.Module, Edit]":
    """A copy of `module` with depthwise-separable convolutions where that saves parameters and MACs; its edit.

    Initialization: for each input channel the best approximation of its [out, window] matrix, by SVD: Guo et al. 2018,
    "Network Decoupling" (arXiv 1808.05517). The edit lists the layers that are left, with the reason.
    Raises BadInput when `keep` names no layer, `multiplier` is above every layer's rank, no layer can be replaced, or
    samples are wanted where there are none.
    """
    try:
        return _separate(module, config, given)
    except BadInput as error:
        raise BadInput(f"separate: {error}") from None


def _separate(module: "nn.Module", config: Separate, given: Given) -> "tuple[nn.Module, Edit]":
    changed = copy.deepcopy(module).eval()
    layers, left = seen_layers(changed, given.example_inputs, CONVOLUTIONS, config.keep)
    left |= {each.name: reason for each in layers if (reason := _reason(each, config.multiplier))}
    chosen = [each for each in layers if each.name not in left]
    if not chosen:
        raise BadInput("no layer can be replaced (" + "; ".join(f"{n}: {why}" for n, why in left.items()) + ")")
    replaced = []
    for index, each in enumerate(chosen):
        form = Depthwise(each, config.multiplier)
        weights = form.weights() if config.init == "svd" else random_weights(form.parts(), config.seed + index)
        replaced.append(put(changed, each.name, form.parts(), weights))
    if config.init == "svd" and (config.weighting == "inputs" or (config.weighting == "auto" and given.train)):
        if not given.train:
            raise BadInput('weighting = "inputs" needs samples: give the recipe data')
        names, data = [each.name for each in chosen], batches(given.train, config.samples)
        refit(copy.deepcopy(module).eval(), changed, names, data, given.progress)
    return changed, Edit("separate", asdict(config), replaced=tuple(replaced), left=left)


def _reason(seen: Seen, multiplier: int) -> str:
    """Why a convolution is left; empty when it is to be replaced."""
    layer: Any = seen.layer
    window = prod(layer.kernel_size)
    if window == 1:
        return "a 1×1 convolution has no window to separate"
    if layer.groups > 1:
        return f"it has {layer.groups} groups"
    most = min(window, layer.out_channels)
    if multiplier > most:
        return f"multiplier {multiplier} is out of range, wanted 1…{most}"
    if layer.in_channels * multiplier * OUTPUTS_PER_KERNEL < layer.out_channels:
        kernels = layer.in_channels * multiplier
        return f"{kernels} depthwise kernel(s) are too few for {layer.out_channels} outputs: raise multiplier"
    if not cost(Depthwise(seen, multiplier).parts(), seen.inputs).saves(seen.cost):
        return "separating it saves no parameters or no MACs"
    return ""


PASS = Pass("separate", Separate, separate, needs={}, uses_data=True)
