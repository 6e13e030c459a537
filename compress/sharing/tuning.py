"""Training the values of tables: every weight of a cluster moves with its value, by the sum of their gradients."""

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgewright.compress.passes import Given
from edgewright.compress.sharing.layers import Weight
from edgewright.compress.sharing.table import Table
from edgewright.errors import BadInput

if TYPE_CHECKING:
    from torch import nn


def tune(module: "nn.Module", tables: "Sequence[tuple[Weight, Table]]", norms: Sequence[str], given: Given) -> None:
    """Fine-tune a module in place whose weights are those of `tables`; they keep their clusters.

    The settled `norms` go on adding a number to each channel, and learn it. Tables of recurrent layers stay as they
    are: torch reads those weights behind the back of what stands for them. Raises BadInput without labelled samples.
    """
    if given.finetune is None:
        return
    if given.train is None or given.validation is None or not len(given.train) or not len(given.validation):
        raise BadInput("cluster: finetune needs samples in the train and the validation part: give the recipe data")
    learner = copy.deepcopy(module)
    layers = dict(learner.named_modules())
    for weight, table in tables:
        if weight.recurrent:
            getattr(layers[weight.layer], weight.name).requires_grad_(False)
        else:
            _share(layers[weight.layer], weight.name, table)
    for name in norms:
        _put(learner, name, _shift(layers[name]))
    given.fit(learner, given.train, given.validation, given.finetune, given.progress)
    _take_back(module, learner, tables, norms)


def _share(layer: "nn.Module", name: str, table: Table) -> None:
    """The parameter becomes the table's values, of which the weight is looked up in every call."""
    import torch
    from torch import nn
    from torch.nn.utils import parametrize

    places = torch.from_numpy(table.places)
    values = torch.from_numpy(table.values).reshape(-1)
    alive = (values != 0).to(values.dtype)

    class Lookup(nn.Module):
        """values → weight. Zeros do not learn: a pruned weight stays pruned."""

        def forward(self, learnt: torch.Tensor) -> torch.Tensor:
            return (learnt * alive).index_select(0, places.reshape(-1)).reshape(places.shape)

        def right_inverse(self, _: torch.Tensor) -> torch.Tensor:
            return values.clone()

    parametrize.register_parametrization(layer, name, Lookup(), unsafe=True)


def _shift(norm: Any) -> "nn.Module":
    """x + shift[channel], where the norm's shift is."""
    import torch
    from torch import nn

    class Shift(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shift = nn.Parameter((-norm.running_mean if norm.bias is None else norm.bias).detach().clone())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.shift.reshape([-1 if axis == 1 else 1 for axis in range(x.dim())])

    return Shift()


def _put(module: "nn.Module", name: str, layer: "nn.Module") -> None:
    parent, _, child = name.rpartition(".")
    setattr(module.get_submodule(parent), child, layer)


def _take_back(
    module: "nn.Module", learner: "nn.Module", tables: "Sequence[tuple[Weight, Table]]", norms: Sequence[str]
) -> None:
    """What the learner learnt, as plain tensors of the module."""
    import torch

    learnt: Mapping[str, Any] = learner.state_dict()
    with torch.no_grad():
        for weight, _ in tables:
            weight.parameter.copy_(getattr(learner.get_submodule(weight.layer), weight.name))
        own = module.state_dict()
        for name in norms:
            norm: Any = module.get_submodule(name)
            shift = learnt[f"{name}.shift"]
            (norm.running_mean.copy_(-shift) if norm.bias is None else norm.bias.copy_(shift))
        for name, tensor in own.items():
            if name in learnt and not name.startswith(tuple(f"{norm}." for norm in norms)):
                tensor.copy_(learnt[name])
