"""What layers see on real samples: second moments of their inputs, and how far the outputs of the module move."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgewright.compress.factors.layers import Seen
from edgewright.data import Samples

if TYPE_CHECKING:
    from torch import Tensor, nn

BATCH, BATCH_ELEMENTS = 32, 1 << 20
"""Samples run together: this many, or as many as hold that many numbers."""
RIDGE = 1e-4
"""Added to the diagonal of second moments, as a share of its mean: what the samples never showed stays finite."""

Batch = tuple["Tensor", ...]


def batches(samples: Samples, most: int) -> list[Batch]:
    """At most `most` samples, spread over all of them, in batches of float inputs."""
    import torch

    chosen = samples.first(most)
    tensors = [torch.from_numpy(array.copy()).float() for array in chosen.inputs.values()]
    together = min(BATCH, BATCH_ELEMENTS // max(1, *(tensor[0].numel() for tensor in tensors)) or 1)
    return list(zip(*(torch.split(tensor, together) for tensor in tensors), strict=True))


def roots(
    module: "nn.Module", layers: Mapping[str, Sequence[str]], seen: Sequence[Seen], data: Sequence[Batch]
) -> "dict[tuple[str, str], Tensor]":
    """Lower Cholesky roots [groups, n, n] of the inputs' second moments, by layer and method (`layers` names them)."""
    import torch

    sums: dict[tuple[str, str], torch.Tensor] = {}

    def watch(each: Seen) -> Any:
        def note(_layer: "nn.Module", arguments: "tuple[Tensor, ...]") -> None:
            for method in layers[each.name]:
                rows = rows_of(method, each.layer, arguments[0])
                key = each.name, method
                sums[key] = sums.get(key, torch.zeros(())) + (rows.mT @ rows).double()

        return each.layer.register_forward_pre_hook(note)

    hooks = [watch(each) for each in seen if layers[each.name]]
    try:
        run(module, data)
    finally:
        for hook in hooks:
            hook.remove()
    return {key: _root(total) for key, total in sums.items()}


def rows_of(method: str, layer: Any, x: "Tensor") -> "Tensor":
    """The vectors that the first factor of a method multiplies: [groups, count, n]."""
    from torch.nn import functional

    if method == "linear":
        return x.reshape(1, -1, x.shape[-1])
    if x.dim() == len(layer.kernel_size) + 1:
        x = x[None]
    if method == "spatial":
        high, down, dilated = layer.kernel_size[0], layer.stride[0], layer.dilation[0]
        reach = dilated * (high - 1)
        padding = {"same": (reach // 2, reach - reach // 2), "valid": (0, 0)}
        above = padding[layer.padding] if isinstance(layer.padding, str) else (layer.padding[0],) * 2
        x = functional.pad(x, (0, 0, *above))
        x = functional.unfold(x, (high, 1), (dilated, 1), 0, (down, 1))
    else:
        x = x.flatten(2)
    return x.reshape(len(x), layer.groups, -1, x.shape[-1]).permute(1, 0, 3, 2).flatten(1, 2)


def run(module: "nn.Module", data: Sequence[Batch]) -> "Tensor":
    """All outputs over all batches in one row of numbers."""
    import torch

    with torch.no_grad():
        return torch.cat([value.double().flatten() for batch in data for value in _tensors(module(*batch))])


def _tensors(result: Any) -> "list[Tensor]":
    values = (
        result.values() if isinstance(result, Mapping) else result if isinstance(result, (tuple, list)) else [result]
    )
    return list(values)


def _root(total: "Tensor") -> "Tensor":
    import torch

    level = total.diagonal(dim1=-2, dim2=-1).mean(-1).clamp_min(1e-12)[:, None, None]
    root: Tensor = torch.linalg.cholesky(total + RIDGE * level * torch.eye(total.shape[-1], dtype=total.dtype))
    return root
