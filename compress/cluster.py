"""Weight sharing: the weights of a layer take few distinct values, so that a file can hold a table and indices."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgewright.compress.passes import Given, Pass
from edgewright.compress.sharing.layers import Weight, weights_of
from edgewright.compress.sharing.norms import settle_norms
from edgewright.compress.sharing.sensitivity import sensitivities
from edgewright.compress.sharing.table import table_of
from edgewright.compress.sharing.tuning import tune
from edgewright.edits import Edit
from edgewright.errors import BadInput

if TYPE_CHECKING:
    from torch import nn

BITS = range(1, 9)
WEIGHTINGS = ("auto", "gradients", "none")


@dataclass(frozen=True)
class Cluster:
    """2^`bits` values for the weights of each layer, or of each `group_channels` output channels (0: of all).

    Depthwise convolutions, few weights that decide much, get at least `depthwise_bits`; `layers` gives the bits of
    single ones, under which everything of that name falls ("features.3", "classifier.weight"). Weights of fewer than
    `smallest` elements, and those named in `keep`, keep all their values. `weighting` "gradients" fits the values to
    what the outputs depend on, on `samples` samples of the train part; "auto" does so where there are samples.
    """

    bits: int = 4
    depthwise_bits: int = 6
    layers: Mapping[str, int] = field(default_factory=dict)
    group_channels: int = 0
    weighting: str = "auto"
    samples: int = 256
    smallest: int = 1024
    keep: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        widths = {"bits": self.bits, "depthwise_bits": self.depthwise_bits} | {
            f"layers.{name}": bits for name, bits in self.layers.items()
        }
        problems = [f"{name} is {bits!r}, wanted 1 to 8" for name, bits in widths.items() if not _is_width(bits)]
        if self.weighting not in WEIGHTINGS:
            problems.append(f"weighting is {self.weighting!r}, wanted one of {', '.join(WEIGHTINGS)}")
        for name, least in (("group_channels", 0), ("samples", 1), ("smallest", 1), ("seed", 0)):
            if not isinstance(given := getattr(self, name), int) or given < least:
                problems.append(f"{name} is {given!r}, wanted a number, {least} or more")
        if problems:
            raise BadInput("cluster: " + "; ".join(problems))


def cluster_weights(module: "nn.Module", config: Cluster, given: Given) -> "tuple[nn.Module, Edit]":
    """A copy of `module` of the same structure whose weights take few values; with `given.finetune`, trained ones.

    k-means and shared values that learn by summed gradients: Han et al. 2016, "Deep Compression" (arXiv 1510.00149);
    weighed by sensitivity: Choi et al. 2017 (arXiv 1612.01543). The clusters start from the best cut of the sorted
    weights instead of random ones, so no seed changes them. Batch norms behind weights get scale 1 first, or folding
    them would give each channel values of its own. The edit lists the weights with their bits, and those left, with
    the reason. Raises BadInput when a name fits no weight, none can be clustered, or samples are wanted and missing.
    """
    shared = copy.deepcopy(module).eval()
    chosen, left = _chosen(shared, config)
    norms = settle_norms(shared, given.example_inputs)
    arrays = [weight.parameter.detach().numpy() for weight in chosen]
    importances = _importances(shared, list(chosen), arrays, config, given)
    tables = [
        (weight, table_of(array, importance, bits, weight.channel_axis, config.group_channels))
        for (weight, bits), array, importance in zip(chosen.items(), arrays, importances, strict=True)
    ]
    for weight, table in tables:
        _set(weight.parameter, table.weight)
    tune(shared, tables, norms, given)
    rows = {weight.path: table.bits for weight, table in tables}
    return shared.train(module.training), Edit("cluster", asdict(config) | {"clustered": rows}, left=left)


def _chosen(module: "nn.Module", config: Cluster) -> tuple[dict[Weight, int], dict[str, str]]:
    """Weights with their bits, and the reasons of the others."""
    weights, left = weights_of(module)
    names = [weight.path for weight in weights]
    unknown = [name for name in (*config.keep, *config.layers) if not any(_below(each, name) for each in names)]
    if unknown:
        raise BadInput(f"cluster: no weight is named {', '.join(unknown)}; there are {', '.join(names)}")
    chosen: dict[Weight, int] = {}
    for weight in weights:
        bits, size = _bits(weight, config), weight.parameter.numel()
        if any(_below(weight.path, name) for name in config.keep):
            left[weight.path] = "keep names it"
        elif size < config.smallest:
            left[weight.path] = f"{size} weights, fewer than {config.smallest}"
        else:
            chosen[weight] = bits
    if not chosen:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left.items()) or "it has none"
        raise BadInput(f"cluster: no weight can be clustered ({reasons})")
    return chosen, left


def _bits(weight: Weight, config: Cluster) -> int:
    """Of the longest name in `layers` that fits, else of the kind of layer."""
    named = [name for name in config.layers if _below(weight.path, name)]
    if named:
        return config.layers[max(named, key=len)]
    return max(config.bits, config.depthwise_bits) if weight.depthwise else config.bits


def _importances(
    module: "nn.Module", weights: Sequence[Weight], arrays: Sequence[NDArray[Any]], config: Cluster, given: Given
) -> list[NDArray[np.float64]]:
    """What each entry counts: the outputs' sensitivity to it, or 1."""
    wanted = config.weighting != "none"
    if config.weighting == "gradients" and not given.train:
        raise BadInput('cluster: weighting = "gradients" needs samples in the train part: give the recipe data')
    if not wanted or not given.train:
        return [np.ones(array.shape) for array in arrays]
    return sensitivities(module, [each.parameter for each in weights], given.train.first(config.samples), config.seed)


def _set(parameter: "nn.Parameter", array: NDArray[np.float32]) -> None:
    import torch

    with torch.no_grad():
        parameter.copy_(torch.from_numpy(array))


def _below(path: str, name: str) -> bool:
    return path == name or path.startswith(f"{name}.")


def _is_width(bits: Any) -> bool:
    return isinstance(bits, int) and not isinstance(bits, bool) and bits in BITS


PASS = Pass("cluster", Cluster, cluster_weights, needs={}, uses_data=True, finetunes=True)
