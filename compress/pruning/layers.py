"""How torch's layers hold their channels: reading a channel's weights, silencing the readers of one, cutting."""

from collections.abc import Callable, Collection, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.instancenorm import _InstanceNorm

RECURRENT = (nn.LSTM, nn.GRU, nn.RNN)
PER_CHANNEL = (_BatchNorm, _InstanceNorm, nn.PReLU, nn.Embedding)
"""Layers whose output channel i is made of input channel i alone (an Embedding has no input channels)."""
KINDS = (_ConvNd, nn.Linear, *PER_CHANNEL, *RECURRENT)
Values = Callable[[Tensor], Tensor]
"""What to read of a parameter: itself, or for example its product with its gradient, in the same shape."""


def is_per_channel(layer: nn.Module) -> bool:
    """Whether cutting an output channel cuts the input channel of the same number."""
    depthwise = isinstance(layer, _ConvNd) and layer.groups == layer.in_channels == layer.out_channels > 1
    return depthwise or isinstance(layer, PER_CHANNEL)


def channel_groups(layer: nn.Module) -> int:
    """The groups of a convolution that must keep alike many channels."""
    return layer.groups if isinstance(layer, _ConvNd) and not is_per_channel(layer) else 1


def rows(layer: nn.Module, side: str, values: Values) -> Iterator[Tensor]:
    """What a layer holds of its channels on one side ("in" or "out"): matrices [channels, …], a bias apart."""
    if isinstance(layer, (_ConvNd, nn.Linear)):
        matrix = _matrix(layer, values(layer.weight))
        yield matrix.flatten(0, 1).flatten(1) if side == "out" else matrix.transpose(1, 2).flatten(0, 1).flatten(1)
        if side == "out" and layer.bias is not None:
            yield values(layer.bias)[:, None]
    elif isinstance(layer, RECURRENT):
        for name, parameter in layer.named_parameters():
            read = values(parameter)
            if side == "out":
                yield read.reshape(-1, layer.hidden_size, *read.shape[1:]).transpose(0, 1).flatten(1)
            elif name.startswith("weight_ih_l0"):
                yield read.T
    elif isinstance(layer, nn.Embedding):
        yield values(layer.weight).T
    else:
        yield from (values(parameter)[:, None] for parameter in layer.parameters() if parameter.dim() == 1)


@torch.no_grad()
def silence(layer: nn.Module, side: str, channels: Collection[int]) -> None:
    """Zero every weight that reads these channels: on the "in" side, and what a recurrent layer reads of its own."""
    if isinstance(layer, (_ConvNd, nn.Linear)) and side == "in":
        matrix = _matrix(layer, layer.weight)
        for channel in channels:
            matrix[channel // matrix.shape[2], :, channel % matrix.shape[2]] = 0
    elif isinstance(layer, RECURRENT):
        for name, parameter in layer.named_parameters():
            if name.startswith("weight_ih_l0") and side == "in":
                parameter[:, list(channels)] = 0
            elif name.startswith("weight") and not name.startswith("weight_ih_l0") and side == "out":
                parameter.view(len(parameter), -1, layer.hidden_size)[:, :, list(channels)] = 0


@torch.no_grad()
def cut(layer: nn.Module, inputs: Collection[int], outputs: Collection[int]) -> None:
    """Remove input and output channels of a layer in place; its parameters stay the same objects."""
    if isinstance(layer, (_ConvNd, nn.Linear)):
        _cut_matrix(layer, inputs, outputs)
    elif isinstance(layer, RECURRENT):
        _cut_recurrent(layer, inputs, outputs)
    elif isinstance(layer, nn.Embedding):
        _take(layer, "weight", 1, _kept(layer.embedding_dim, outputs))
        layer.embedding_dim = layer.weight.shape[1]
    else:
        size = "num_parameters" if isinstance(layer, nn.PReLU) else "num_features"
        before = getattr(layer, size)
        kept = _kept(before, {*inputs, *outputs})
        for name, tensor in [*layer.named_parameters(), *layer.named_buffers()]:
            if tuple(tensor.shape) == (before,):
                _take(layer, name, 0, kept)
        setattr(layer, size, len(kept))


def _cut_matrix(layer: _ConvNd | nn.Linear, inputs: Collection[int], outputs: Collection[int]) -> None:
    input_axis = 0 if isinstance(layer, _ConvNd) and layer.transposed else 1
    if is_per_channel(layer):
        assert isinstance(layer, _ConvNd)
        kept_inputs = kept_outputs = _kept(layer.out_channels, {*inputs, *outputs})
        _take(layer, "weight", 0, kept_outputs)
        layer.groups = len(kept_outputs)
    else:
        matrix = _matrix(layer, layer.weight)
        groups, outputs_each, inputs_each = matrix.shape[:3]
        kept_outputs, kept_inputs = _kept(groups * outputs_each, outputs), _kept(groups * inputs_each, inputs)
        grouped_axis = {0: kept_outputs, 1: _of_each_group(kept_inputs, inputs_each, groups)}
        if input_axis == 0:
            grouped_axis = {0: kept_inputs, 1: _of_each_group(kept_outputs, outputs_each, groups)}
        for axis, kept in grouped_axis.items():
            _take(layer, "weight", axis, kept)
    if layer.bias is not None:
        _take(layer, "bias", 0, kept_outputs)
    names = ("in_features", "out_features") if isinstance(layer, nn.Linear) else ("in_channels", "out_channels")
    for name, kept in zip(names, (kept_inputs, kept_outputs), strict=True):
        setattr(layer, name, len(kept))


def _cut_recurrent(layer: nn.RNNBase, inputs: Collection[int], outputs: Collection[int]) -> None:
    kept_inputs, kept = _kept(layer.input_size, inputs), _kept(layer.hidden_size, outputs)
    gates = len(layer.get_parameter("weight_hh_l0")) // layer.hidden_size
    directions = 2 if layer.bidirectional else 1
    for name, _ in layer.named_parameters():
        _take(layer, name, 0, _repeated(kept, layer.hidden_size, gates))
        if name.startswith("weight_hh"):
            _take(layer, name, 1, kept)
        elif name.startswith("weight_ih"):
            first = name.startswith("weight_ih_l0")
            _take(layer, name, 1, kept_inputs if first else _repeated(kept, layer.hidden_size, directions))
    layer.input_size, layer.hidden_size = len(kept_inputs), len(kept)


def _matrix(layer: nn.Module, weight: Tensor) -> Tensor:
    """A view [groups, outputs of each, inputs of each, kernel] of a convolution's or Linear's weight."""
    if not isinstance(layer, _ConvNd):
        return weight[None, :, :, None]
    matrix = weight.reshape(layer.groups, -1, *weight.shape[1:]).flatten(3)
    return matrix.transpose(1, 2) if layer.transposed else matrix


def _take(layer: nn.Module, name: str, axis: int, kept: Sequence[int]) -> None:
    tensor: Tensor = getattr(layer, name)
    tensor.grad = None
    tensor.data = tensor.data.index_select(axis, torch.tensor(kept)).contiguous()


def _kept(size: int, removed: Collection[int]) -> list[int]:
    return [channel for channel in range(size) if channel not in removed]


def _repeated(kept: Sequence[int], size: int, times: int) -> list[int]:
    return [channel + turn * size for turn in range(times) for channel in kept]


def _of_each_group(kept: Sequence[int], size: int, groups: int) -> list[int]:
    """The places within a group that stay. Raises ValueError when they differ between the groups."""
    places = [[channel - group * size for channel in kept if channel // size == group] for group in range(groups)]
    if any(each != places[0] for each in places):
        raise ValueError("the groups of a convolution would keep different channels")
    return places[0]
