"""The last layer of each replacement, fitted by least squares to what the original layer gave on real samples."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgewright.compress.factors.inputs import RIDGE, Batch, run
from edgewright.progress import Progress

if TYPE_CHECKING:
    from torch import Tensor, nn


def refit(
    original: "nn.Module", changed: "nn.Module", names: Sequence[str], data: Sequence[Batch], progress: Progress
) -> None:
    """Fit the 1×1 convolution that ends each Sequential of `changed`, in this order, with its bias if it has one.

    Each sees the inputs that the layers replaced before it give, and aims at the original's output: it also mends what
    was lost before it, cf. Zhang et al. 2016 (arXiv 1505.06798). The fit is pulled to the weights that are there.
    Both modules are in eval mode.
    """
    with progress.task("least squares", len(names)) as advance:
        for name in names:
            _fit(original, changed, name, data)
            advance(1)


def _fit(original: "nn.Module", changed: "nn.Module", name: str, data: Sequence[Batch]) -> None:
    import torch

    last: Any = list(changed.get_submodule(name).children())[-1]
    gram, cross = torch.zeros(()), torch.zeros(())
    for batch in data:
        rows = _rows(changed, last, batch, output=False)
        wanted = _rows(original, original.get_submodule(name), batch, output=True)
        if last.bias is not None:
            rows = torch.cat([rows, rows.new_ones(len(rows), 1)], 1)
        gram, cross = gram + (rows.T @ rows).double(), cross + (rows.T @ wanted).double()
    before = last.weight.detach().double().flatten(1)
    if last.bias is not None:
        before = torch.cat([before, last.bias.detach().double()[:, None]], 1)
    pull = RIDGE * gram.diagonal().mean().clamp_min(1e-12) * torch.eye(len(gram), dtype=gram.dtype)
    after = torch.linalg.solve(gram + pull, cross + pull @ before.T).T
    with torch.no_grad():
        if last.bias is not None:
            last.bias.copy_(after[:, -1])
            after = after[:, :-1]
        last.weight.copy_(after.reshape(last.weight.shape))


def _rows(module: "nn.Module", layer: "nn.Module", batch: Batch, *, output: bool) -> "Tensor":
    """What a convolution takes or gives in one run: [positions, channels]."""
    import torch

    found: list[Tensor] = []

    def note(_layer: "nn.Module", taken: "tuple[Tensor, ...]", given: "Tensor") -> None:
        values = given if output else taken[0]
        found.append(values.flatten(2).transpose(1, 2).flatten(0, 1))

    hook = layer.register_forward_hook(note)
    try:
        run(module, [batch])
    finally:
        hook.remove()
    return torch.cat(found)
