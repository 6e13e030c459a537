"""Operations that join, cut, fill, sort and count."""

from typing import Any

import numpy as np
import torch

from edgewright.runtimes.mil.operators import OPERATION
from edgewright.runtimes.mil.parameters import from_numpy, ints

Tensor = torch.Tensor


@OPERATION("concat")
def concat(values: list[Tensor], axis: Any, interleave: Any = False) -> Tensor:
    where = int(axis) % max(values[0].ndim, 1)
    if interleave:
        return torch.stack(values, where + 1).flatten(where, where + 1)
    return torch.cat([value.reshape(1) if value.ndim == 0 else value for value in values], where)


@OPERATION("stack")
def stack(values: list[Tensor], axis: Any) -> Tensor:
    return torch.stack(values, int(axis))


@OPERATION("split")
def split(x: Tensor, axis: Any, num_splits: Any = None, split_sizes: Any = None) -> tuple[Tensor, ...]:
    sizes = ints(split_sizes) if split_sizes is not None else x.shape[int(axis)] // int(num_splits)
    return torch.split(x, sizes, int(axis))


@OPERATION("tile")
def tile(x: Tensor, reps: Any) -> Tensor:
    return x.repeat(ints(reps))


@OPERATION("pad")
def pad(x: Tensor, pad: Any, mode: str = "constant", constant_val: Any = 0.0) -> Tensor:
    """The last axes, as many as `pad` has pairs."""
    pairs = np.reshape(ints(pad), (-1, 2)).tolist()
    pairs = [[0, 0]] * (x.ndim - len(pairs)) + pairs
    if mode == "constant":
        number = constant_val.item() if isinstance(constant_val, Tensor) else constant_val
        return from_numpy(np.pad(x.numpy(), pairs, constant_values=number))
    return from_numpy(np.pad(x.numpy(), pairs, {"reflect": "reflect", "replicate": "edge"}[mode]))  # type: ignore[call-overload]


@OPERATION("fill")
def fill(shape: Any, value: Any = 0.0) -> Tensor:
    return torch.broadcast_to(_typed(value).reshape(()), ints(shape))


@OPERATION("fill_like")
def fill_like(ref_tensor: Tensor, value: Any = 0.0) -> Tensor:
    return fill(list(ref_tensor.shape), value)


@OPERATION("range_1d")
def range_1d(end: Any, start: Any, step: Any) -> Tensor:
    first = _typed(start)
    numbers = np.arange(*(_typed(each).numpy()[()] for each in (start, end, step)))
    return from_numpy(numbers).to(first.dtype)


@OPERATION("shape")
def shape(x: Tensor) -> Tensor:
    return torch.tensor(x.shape, dtype=torch.int32)


@OPERATION("band_part")
def band_part(x: Tensor, lower: Any = -1, upper: Any = -1) -> Tensor:
    """Zero outside of the band of the innermost matrices; negative: no bound."""
    found = x if int(upper) < 0 else x.tril(int(upper))
    return found if int(lower) < 0 else found.triu(-int(lower))


@OPERATION("cumsum")
def cumsum(x: Tensor, axis: Any = 0, exclusive: Any = False, reverse: Any = False) -> Tensor:
    where = int(axis)
    x = x.flip(where) if reverse else x
    found = x.cumsum(where, dtype=x.dtype)
    if exclusive:
        found = torch.cat(
            [torch.zeros_like(found.narrow(where, 0, 1)), found.narrow(where, 0, x.shape[where] - 1)], where
        )
    return found.flip(where) if reverse else found


@OPERATION("argsort")
def argsort(x: Tensor, axis: Any = -1, ascending: Any = False) -> Tensor:
    """Equal values keep their order."""
    return torch.sort(x, dim=int(axis), descending=not ascending, stable=True)[1].to(torch.int32)


@OPERATION("topk")
def topk(
    x: Tensor,
    k: Any = 1,
    axis: Any = -1,
    ascending: Any = False,
    sort: Any = True,  # noqa: ARG001 sorted is one of the orders that it allows
    return_indices: Any = True,
    output_indices_dtype: str = "int32",  # noqa: ARG001 uint16 is held as int32
) -> Any:
    """The first of equal values first."""
    values, indices = torch.sort(x, dim=int(axis), descending=not ascending, stable=True)
    values, indices = (each.narrow(int(axis), 0, int(k)) for each in (values, indices))
    return (values, indices.to(torch.int32)) if return_indices else values


@OPERATION("one_hot")
def one_hot(indices: Tensor, one_hot_vector_size: Any, axis: Any = -1, on_value: Any = 1, off_value: Any = 0) -> Tensor:
    """Numbers out of range give none."""
    size, on = int(one_hot_vector_size), _typed(on_value, torch.int32)
    where = int(axis) % (indices.ndim + 1)
    line = torch.arange(size).reshape([-1 if i == where else 1 for i in range(indices.ndim + 1)])
    return torch.where(indices.unsqueeze(where) == line, on, _typed(off_value, on.dtype))


@OPERATION("non_zero")
def non_zero(x: Tensor) -> Tensor:
    return torch.nonzero(x).to(torch.int32)


@OPERATION("classify")
def classify(probabilities: Tensor, classes: Any) -> tuple[Any, Any]:
    """The label of the highest, and all by label."""
    numbers = probabilities.reshape(-1)
    labels = classes.tolist() if isinstance(classes, Tensor) else classes
    return labels[int(numbers.argmax())], dict(zip(labels, numbers.tolist(), strict=True))


def _typed(value: Any, dtype: torch.dtype = torch.float32) -> Tensor:
    """Python's defaults get the type that coremltools gives them."""
    return value if isinstance(value, Tensor) else torch.tensor(value, dtype=dtype)
