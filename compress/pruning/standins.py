"""Layers that torch-pruning can follow channels through, in the place of those that it cannot.

It knows no GRU, wants an LSTM of one level, and loses count of flattened channels behind a PReLU of one parameter.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from edgewright.compress.pruning.layers import RECURRENT


class StandIn(nn.Module):
    """Takes and gives tensors of the shapes of an LSTM, GRU or RNN; every hidden channel depends on its namesakes."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        directions = 2 if layer.bidirectional else 1
        self._levels, self._directions = layer.num_layers, directions
        self._steps_axis = 1 if layer.batch_first else 0
        self._is_lstm = isinstance(layer, nn.LSTM)
        widths = [layer.input_size, *[directions * layer.hidden_size] * (layer.num_layers - 1)]
        self.cells = nn.ModuleList(nn.Linear(width, layer.hidden_size) for width in widths for _ in range(directions))

    def forward(self, x: Tensor, _state: object = None) -> tuple[Tensor, object]:
        total: Tensor | None = None
        for level in range(self._levels):
            cells = self.cells[level * self._directions : (level + 1) * self._directions]
            parts = [cell(x) for cell in cells]
            for part in parts:
                total = part if total is None else total + part
            x = torch.cat([part + total for part in parts], -1) if len(parts) > 1 else parts[0] + total
        assert total is not None
        # The outputs of all levels and directions, added, tie the last output to every cell.
        output = torch.cat([total] * self._directions, -1) + x
        last = total.select(self._steps_axis, -1) if total.dim() == 3 else total[-1]
        hidden = torch.stack([last] * (self._levels * self._directions))
        return output, (hidden, hidden) if self._is_lstm else hidden


def stand_in(module: nn.Module) -> Mapping[str, tuple[str, bool]]:
    """Put stand-ins in place. Gives by cell its recurrent layer's name, and whether it reads that layer's input."""
    cells: dict[str, tuple[str, bool]] = {}
    for name, layer in list(module.named_modules()):
        parent, _, own = name.rpartition(".")
        if isinstance(layer, nn.PReLU) and layer.num_parameters == 1 and name:
            setattr(module.get_submodule(parent), own, nn.LeakyReLU())
        elif isinstance(layer, RECURRENT) and name:
            setattr(module.get_submodule(parent), own, StandIn(layer))
            directions = 2 if layer.bidirectional else 1
            for index in range(layer.num_layers * directions):
                cells[f"{name}.cells.{index}"] = (name, index < directions)
    return cells
