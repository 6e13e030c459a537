"""One store of weights, several widths: each takes the first channels of every layer, and has its own batch norms."""

import copy
from collections.abc import Mapping, Sequence
from math import ceil

import torch
from torch import Tensor, nn
from torch.func import functional_call

from edgewright.compress.pruning.coupling import Coupled, couplings, remove
from edgewright.edits import difference
from edgewright.errors import BadInput

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class Slimmable(nn.Module):
    """Gives the scores of several widths, the full one first, the smallest last.

    While it trains, only `between` widths drawn anew each time lie between those two (the sandwich rule). `whole`
    holds the weights. `forms` are the narrow structures, of which only the batch norms are used as they are; `rows`
    says which elements of the whole's tensors their other tensors are.
    """

    def __init__(
        self,
        whole: nn.Module,
        forms: Mapping[float, nn.Module],
        rows: Mapping[float, Mapping[str, Tensor]],
        between: int,
    ) -> None:
        super().__init__()
        self.whole = whole
        self.widths = tuple(sorted(forms, reverse=True))
        self._forms = tuple(forms[width] for width in self.widths)  # no ModuleList: these weights are not trained
        norms = [[layer for layer in form.modules() if isinstance(layer, NORMS)] for form in self._forms]
        self.norms = nn.ModuleList(nn.ModuleList(layers) for layers in norms)
        self._rows = tuple(_shared(form, rows[width]) for width, form in zip(self.widths, self._forms, strict=True))
        self._between = between

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return (self.whole(*inputs), *(self._narrow(index, inputs) for index in self._chosen()))

    def train(self, mode: bool = True) -> "Slimmable":
        super().train(mode)
        for form in self._forms:
            form.train(mode)
        return self

    def module_of(self, width: float) -> nn.Module:
        """A copy of the network at a width, with weights of its own: really smaller. 1 is the whole."""
        if width == 1:
            return copy.deepcopy(self.whole).eval()
        index = self.widths.index(width)
        form = copy.deepcopy(self._forms[index])
        with torch.no_grad():
            for name, tensor in self._weights(index).items():
                form.get_parameter(name).copy_(tensor)
        return form.requires_grad_(True).eval()

    def _chosen(self) -> list[int]:
        *inner, smallest = range(len(self.widths))
        if self.training and len(inner) > self._between:
            inner = sorted(torch.randperm(len(inner))[: self._between].tolist())
        return [*inner, smallest]

    def _narrow(self, index: int, inputs: Sequence[Tensor]) -> Tensor:
        answer: Tensor = functional_call(self._forms[index], self._weights(index), tuple(inputs))
        return answer

    def _weights(self, index: int) -> dict[str, Tensor]:
        whole = dict(self.whole.named_parameters())
        return {name: whole[name].take(rows) for name, rows in self._rows[index].items()}


def _shared(form: nn.Module, rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The rows of those parameters that a form takes from the whole: all but its batch norms'."""
    norms = [name for name, layer in form.named_modules() if isinstance(layer, NORMS)]
    return {name: rows[name] for name, _ in form.named_parameters() if name.rpartition(".")[0] not in norms}


def slimmable(
    module: nn.Module, widths: Sequence[float], inputs: Sequence[Tensor], *, round_to: int, between: int
) -> Slimmable:
    """A copy of `module` that also has these widths below 1, each with the first channels of every layer.

    Which channels go together is what pruning finds and proves. Raises BadInput when a width changes no layer.
    """
    found, left = couplings(module, inputs, keep=())
    places = {width: _places(module, found, width, round_to) for width in widths}
    same = [width for width, cut in places.items() if not difference(module, cut)]
    if same:
        reasons = "; ".join(f"{layer}: {reason}" for layer, reason in left.items())
        raise BadInput(f"slim: no layer gets narrower at width(s) {same} rounded to {round_to}. {reasons}")
    rows = {width: _rows(cut) for width, cut in places.items()}
    forms = {width: _form(module, places[width], rows[width]) for width in widths}
    return Slimmable(copy.deepcopy(module), forms, rows, between)


def _places(module: nn.Module, found: Sequence[Coupled], width: float, round_to: int) -> nn.Module:
    """`module` with only its first channels, whose parameters and buffers hold their elements' places in the whole.

    The cut is that of pruning, through concatenations, groups and heads: what remains says where it was.
    """
    places = copy.deepcopy(module).double().eval()
    with torch.no_grad():
        for tensor in _floats(places).values():
            tensor.copy_(torch.arange(tensor.numel(), dtype=tensor.dtype).reshape(tensor.shape))
    remove(places, [(coupled, range(_kept(coupled, width, round_to), len(coupled.units))) for coupled in found])
    return places


def _kept(coupled: Coupled, width: float, round_to: int) -> int:
    """How many units stay: at least `width` of them, a whole number of `round_to` channels where there are so many."""
    count = len(coupled.units)
    step = -(-round_to * count // coupled.channels)
    return min(count, step * ceil(round(width * count / step, 6)))


def _rows(places: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.long() for name, tensor in _floats(places).items()}


def _form(module: nn.Module, places: nn.Module, rows: Mapping[str, Tensor]) -> nn.Module:
    """The narrow structure with the values that it takes from the whole."""
    form = copy.deepcopy(places).float()
    whole = _floats(module)
    with torch.no_grad():
        for name, tensor in _floats(form).items():
            tensor.copy_(whole[name].take(rows[name]))
    return form.eval()


def _floats(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in module.state_dict().items() if tensor.is_floating_point()}
