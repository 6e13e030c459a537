"""Gradient descent on the weights and biases of a differentiable int8 graph towards a float graph's answers."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from edgewright.errors import BadData
from edgewright.export.onnx.differentiable.graph import TorchGraph

if TYPE_CHECKING:
    from torch import Tensor

Tensors = Mapping[str, "Tensor"]
Loss = Callable[[Tensors, "Tensor"], "Tensor"]
"""(answers of the rows, the rows) → a scalar."""

CHUNK = 16
"""Calls that one pass of the float graph takes."""


def descend(
    graph: TorchGraph, inputs: Tensors, loss: Loss, rows: "Sequence[Tensor]", learning_rate: float
) -> Iterator[None]:
    """One step of Adam (arXiv 1412.6980) for each batch of row numbers, at a rate that falls along a cosine.

    `learning_rate` counts in steps of the weights' grids. Runs on one thread, so the same rows give the same weights.
    Raises BadData when the loss is not finite.
    """
    import torch

    torch.set_num_threads(1)
    optimizer = torch.optim.Adam([weight.shift for weight in graph.weights.values()], learning_rate)
    for index, chosen in enumerate(rows):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * (1 + math.cos(math.pi * index / len(rows))) / 2
        value = loss(graph.run({name: tensor[chosen] for name, tensor in inputs.items()}), chosen)
        if not torch.isfinite(value):
            raise BadData("the loss on the quantized graph is not finite: lower the learning rate or check the data")
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        yield


def shuffled(count: int, batch: int, steps: int, seed: int) -> "list[Tensor]":
    """Row numbers of each step: every row once an epoch, in a seeded order; batches are even."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    per_epoch = -(-count // batch)
    rows: list[Tensor] = []
    while len(rows) < steps:
        rows += torch.tensor_split(torch.randperm(count, generator=generator), per_epoch)
    return rows[:steps]


def answers_of(graph: TorchGraph, inputs: Tensors) -> "dict[str, Tensor]":
    """All outputs [calls, *shape], without gradients."""
    import torch

    count = len(next(iter(inputs.values())))
    with torch.no_grad():
        pieces = [
            graph.run({name: tensor[start : start + CHUNK] for name, tensor in inputs.items()})
            for start in range(0, count, CHUNK)
        ]
    return {name: torch.cat([piece[name] for piece in pieces]) for name in graph.outputs}


def distance(targets: Tensors) -> Loss:
    """Noise over signal, summed over the outputs of a floating-point type (Hinton et al. 2015, arXiv 1503.02531)."""
    import torch

    real = {name: tensor for name, tensor in targets.items() if tensor.is_floating_point()}
    power = {name: tensor.square().mean().clamp_min(torch.finfo(torch.float32).tiny) for name, tensor in real.items()}

    def loss(answers: Tensors, rows: "Tensor") -> "Tensor":
        noise = [(answers[name] - target[rows]).square().mean() / power[name] for name, target in real.items()]
        return torch.stack(noise).sum()

    return loss
