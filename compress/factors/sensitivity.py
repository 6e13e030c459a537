"""How much the outputs of the whole module suffer from one layer's loss, measured on samples without labels."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from edgewright.compress.factors.inputs import Batch, run
from edgewright.compress.factors.parts import put
from edgewright.compress.factors.ranks import Option
from edgewright.progress import Progress

if TYPE_CHECKING:
    from torch import Tensor, nn

RANKS_TRIED = 3


def sensitive(
    module: "nn.Module", options: Mapping[str, Sequence[Option]], data: Sequence[Batch], progress: Progress
) -> dict[str, list[Option]]:
    """The same options with the error at the outputs (relative squared change) in place of the layer's own.

    `RANKS_TRIED` ranks of each layer are run, all other layers as they are; between them the ratio of the two errors
    is interpolated.
    """
    truth = run(module, data)
    spread = float((truth - truth.mean()).square().sum()) or 1.0
    measured = {}
    with progress.task("sensitivity of layers", len(options)) as advance:
        for name, rows in options.items():
            measured[name] = _scaled(rows, partial(_change, module, name, data, truth, spread))
            advance(1)
    return measured


def _scaled(rows: Sequence[Option], change: Callable[[Option], float]) -> list[Option]:
    lossy = sorted((row for row in rows if row.error > 0), key=lambda row: row.error)
    if not lossy:
        return list(rows)
    tried = [lossy[round(i)] for i in np.linspace(0, len(lossy) - 1, RANKS_TRIED)]
    losses = [row.error for row in tried]
    ratios = [change(row) / row.error for row in tried]
    return [replace(row, error=row.error * float(np.interp(row.error, losses, ratios))) for row in rows]


def _change(
    module: "nn.Module", name: str, data: Sequence[Batch], truth: "Tensor", spread: float, option: Option
) -> float:
    parent, _, own = name.rpartition(".")
    layer = module.get_submodule(name)
    put(module, name, option.method.parts(option.rank), option.method.weights(option.rank))
    try:
        return float((run(module, data) - truth).square().sum()) / spread
    finally:
        setattr(module.get_submodule(parent), own, layer)
