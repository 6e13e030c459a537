"""What a channel is worth: norms of its weights, its activations on samples, or what the loss would change by."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from edgewright.compress.passes import Given
from edgewright.compress.pruning.coupling import Coupled, Place
from edgewright.compress.pruning.layers import PER_CHANNEL, RECURRENT, is_per_channel, rows
from edgewright.compress.training import tensors_of
from edgewright.data import Samples
from edgewright.errors import BadData

BATCH = 64
Score = Callable[[Place], Tensor | None]
"""One number [channels of the layer] for each channel at a place; None where the criterion does not look."""


def scores(
    module: nn.Module, found: Sequence[Coupled], criterion: str, given: Given, samples: int
) -> tuple[list[Tensor | None], str]:
    """For each coupling the worth of its units [units], or None where the criterion says nothing of it; and why.

    "l1", "l2": of all weights that go with the channel (Li et al. 2017, arXiv 1608.08710, over the whole coupling as in
    arXiv 2301.12900); "bn": |γ| (Liu et al. 2017, arXiv 1708.06519); "apoz": how often it is not zero where it is read
    (Hu et al. 2016, arXiv 1607.03250); "activation": its mean magnitude there (Molchanov et al. 2017, arXiv
    1611.06440); "taylor": the squared first-order change of the loss without it (Molchanov et al. 2019, arXiv
    1906.10771). All but the last are relative to the mean of their layer. Raises BadData without the samples or labels
    that a criterion reads.
    """
    if criterion == "taylor":
        score = _taylor(module, found, _data(given, samples, criterion, labelled=True))
        return [_of_units(coupled, score, relative=False) for coupled in found], "it has no weights"
    if criterion in ("apoz", "activation"):
        data = _data(given, samples, criterion, labelled=False)
        score = _activations(module, found, data, counts=criterion == "apoz")
        return [_of_units(coupled, score) for coupled in found], "no layer of weights reads its channels"
    if criterion == "bn":
        score = _batch_norm(module)
        return [_of_units(coupled, score) for coupled in found], "no batch norm stands behind it"
    score = _norm(module, 1 if criterion == "l1" else 2)
    return [_of_units(coupled, score) for coupled in found], "it has no weights"


def _of_units(coupled: Coupled, score: Score, relative: bool = True) -> Tensor | None:
    """The mean over a coupling's places (the sum unless `relative`), each spread over the root channels."""
    size, found = coupled.channels, list[Tensor]()
    for place in coupled.places:
        values = score(place)
        if values is None:
            continue
        channels, roots = (torch.tensor(each) for each in zip(*place.roots, strict=True))
        total = torch.zeros(size).index_add_(0, roots, values.detach().float()[channels])
        found.append(total / total.mean() if relative and total.mean() > 0 else total)
    if not found:
        return None
    worth = torch.stack(found).mean(0) if relative else torch.stack(found).sum(0)
    return worth[torch.tensor(coupled.units)].mean(1)


def _norm(module: nn.Module, power: int) -> Score:
    def score(place: Place) -> Tensor | None:
        layer = module.get_submodule(place.layer)
        found = [each.abs().pow(power).sum(1) for each in rows(layer, place.side, lambda parameter: parameter.detach())]
        matrices = found[:1] if not isinstance(layer, RECURRENT) else found  # a bias, or β, is no filter
        total = torch.stack(matrices).sum(0) if matrices else None
        return None if total is None else total.pow(1 / power)

    return score


def _batch_norm(module: nn.Module) -> Score:
    def score(place: Place) -> Tensor | None:
        layer = module.get_submodule(place.layer)
        is_norm = isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.affine
        return layer.get_parameter("weight").detach().abs() if is_norm else None

    return score


def _taylor(module: nn.Module, found: Sequence[Coupled], data: Samples) -> Score:
    """Mean over batches of (Σ gradient · weight over the channel's own weights)²."""
    places = [place for coupled in found for place in coupled.places if place.side == "out"]
    totals = dict[str, Tensor]()
    assert data.labels is not None
    labels = torch.from_numpy(data.labels.astype("int64"))
    parameters = list(module.parameters())
    wanted = [parameter.requires_grad for parameter in parameters]
    module.requires_grad_(True)
    for batch in torch.split(torch.arange(len(data)), BATCH):
        outputs = module(*(tensor[batch] for tensor in tensors_of(data)))
        loss = nn.functional.cross_entropy(outputs, labels[batch])
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        by_id = {id(p): p.detach() * g for p, g in zip(parameters, gradients, strict=True) if g is not None}
        for place in places:
            layer = module.get_submodule(place.layer)
            changes = [each.sum(1) for each in rows(layer, "out", partial(_found, by_id))]
            if changes:
                squared = torch.stack(changes).sum(0).square()
                totals[place.layer] = totals[place.layer] + squared if place.layer in totals else squared
    for parameter, was in zip(parameters, wanted, strict=True):
        parameter.requires_grad_(was)
    return lambda place: totals.get(place.layer) if place.side == "out" else None


def _found(by_id: Mapping[int, Tensor], parameter: Tensor) -> Tensor:
    return by_id.get(id(parameter), torch.zeros_like(parameter))


def _activations(module: nn.Module, found: Sequence[Coupled], data: Samples, *, counts: bool) -> Score:
    """Per channel the share of activations that are not zero, or their mean magnitude, at the layers that read it."""
    readers = {place.layer for coupled in found for place in coupled.places if _reads(module, place)}
    totals = dict[str, Tensor]()

    def note(name: str, layer: nn.Module, x: Tensor) -> None:
        values = (x != 0).float() if counts else x.abs()
        axis = 1 if isinstance(layer, nn.modules.conv._ConvNd) else x.dim() - 1
        seen = values.sum([each for each in range(x.dim()) if each != axis])
        totals[name] = totals[name] + seen if name in totals else seen

    with _watched(module, readers, note), torch.no_grad():
        for batch in torch.split(torch.arange(len(data)), BATCH):
            module(*(tensor[batch] for tensor in tensors_of(data)))
    return lambda place: totals.get(place.layer) if place.side == "in" or _reads(module, place) else None


def _reads(module: nn.Module, place: Place) -> bool:
    layer = module.get_submodule(place.layer)
    return place.side == "in" or (is_per_channel(layer) and not isinstance(layer, PER_CHANNEL))


@contextmanager
def _watched(module: nn.Module, names: Iterable[str], note: Callable[[str, nn.Module, Tensor], None]) -> Iterator[None]:
    hooks = [
        module.get_submodule(name).register_forward_pre_hook(
            lambda layer, inputs, name=name: note(name, layer, inputs[0])
        )
        for name in sorted(names)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _data(given: Given, samples: int, criterion: str, *, labelled: bool) -> Samples:
    train = given.train
    if train is None or not len(train) or (labelled and train.labels is None):
        what = "labelled samples" if labelled else "samples"
        raise BadData(f"prune: criterion {criterion!r} reads {what} of the train part; give data that holds some")
    return train.first(samples)
