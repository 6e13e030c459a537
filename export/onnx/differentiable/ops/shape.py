"""Operators that move, cut, join or repeat values."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgewright.export.onnx.differentiable.rules import TORCH, Call

if TYPE_CHECKING:
    from torch import Tensor


@TORCH.lower("Reshape")
def reshape(b: Call, x: "Tensor", shape: "Tensor", *, allowzero: int = 0) -> "Tensor":  # noqa: ARG001
    wanted = shape.tolist()
    return x.reshape(wanted if allowzero else [n or x.shape[axis] for axis, n in enumerate(wanted)])


@TORCH.lower("Flatten")
def flatten(b: Call, x: "Tensor", *, axis: int = 1) -> "Tensor":  # noqa: ARG001
    rows = int(np.prod(x.shape[:axis]))
    return x.reshape(rows, int(np.prod(x.shape[axis:])))


@TORCH.lower("Squeeze")
def squeeze(b: Call, x: "Tensor", axes: "Tensor | None" = None) -> "Tensor":  # noqa: ARG001
    return x.squeeze() if axes is None else x.squeeze(axes.tolist())


@TORCH.lower("Unsqueeze")
def unsqueeze(b: Call, x: "Tensor", axes: "Tensor") -> "Tensor":  # noqa: ARG001
    rank = x.dim() + axes.numel()
    for axis in sorted(axis % rank for axis in axes.tolist()):
        x = x.unsqueeze(axis)
    return x


@TORCH.lower("Transpose")
def transpose(b: Call, x: "Tensor", *, perm: Sequence[int] | None = None) -> "Tensor":  # noqa: ARG001
    return x.permute(*(perm or range(x.dim() - 1, -1, -1)))


@TORCH.lower("Concat")
def concat(b: Call, *xs: "Tensor", axis: int) -> "Tensor":  # noqa: ARG001
    import torch

    return torch.cat(xs, axis)


@TORCH.lower("Split")
def split(
    b: Call, x: "Tensor", sizes: "Tensor | None" = None, *, axis: int = 0, num_outputs: int | None = None
) -> "tuple[Tensor, ...]":
    count = num_outputs or len(b.shapes)
    parts: tuple[Tensor, ...] = x.split(-(-x.shape[axis] // count) if sizes is None else sizes.tolist(), axis)  # type: ignore[no-untyped-call]
    return parts


@TORCH.lower("Slice")
def cut(
    b: Call,  # noqa: ARG001
    x: "Tensor",
    starts: "Tensor",
    ends: "Tensor",
    axes: "Tensor | None" = None,
    steps: "Tensor | None" = None,
) -> "Tensor":
    import torch

    along = range(starts.numel()) if axes is None else axes.tolist()
    strides = [1] * starts.numel() if steps is None else steps.tolist()
    for axis, start, end, stride in zip(along, starts.tolist(), ends.tolist(), strides, strict=True):
        rows = range(x.shape[axis])[slice(start, None if stride < 0 and end < -x.shape[axis] else end, stride)]
        x = x.index_select(axis, torch.tensor(list(rows), dtype=torch.long))
    return x


@TORCH.lower("Gather")
def gather(b: Call, x: "Tensor", indices: "Tensor", *, axis: int = 0) -> "Tensor":  # noqa: ARG001
    axis %= x.dim()
    rows = (indices.long() % x.shape[axis]).reshape(-1)
    picked = x.index_select(axis, rows)
    return picked.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


@TORCH.lower("GatherElements")
def gather_elements(b: Call, x: "Tensor", indices: "Tensor", *, axis: int = 0) -> "Tensor":  # noqa: ARG001
    return x.gather(axis, indices.long() % x.shape[axis])


@TORCH.lower("GatherND")
def gather_nd(b: Call, x: "Tensor", indices: "Tensor", *, batch_dims: int = 0) -> "Tensor":  # noqa: ARG001
    """Batch axes count along; each further column of `indices` picks along one axis of `x`."""
    import torch

    columns = indices.long().unbind(-1)
    lengths = x.shape[batch_dims : batch_dims + len(columns)]
    batch = [torch.arange(x.shape[axis]).reshape(-1, *(1,) * (indices.dim() - 2 - axis)) for axis in range(batch_dims)]
    picked: Tensor = x[(*batch, *(column % length for column, length in zip(columns, lengths)))]
    return picked


@TORCH.lower("Expand")
def expand(b: Call, x: "Tensor", shape: "Tensor") -> "Tensor":  # noqa: ARG001
    import torch

    return x.expand(torch.broadcast_shapes(x.shape, tuple(shape.tolist())))  # type: ignore[no-untyped-call]


@TORCH.lower("Tile")
def tile(b: Call, x: "Tensor", repeats: "Tensor") -> "Tensor":  # noqa: ARG001
    return x.repeat(*repeats.tolist())


@TORCH.lower("Shape")
def shape_of(b: Call, x: "Tensor", *, end: int | None = None, start: int = 0) -> "Tensor":  # noqa: ARG001
    import torch

    return torch.tensor(list(x.shape)[start:end], dtype=torch.long)


@TORCH.lower("Constant")
def constant(
    b: Call,
    *,
    sparse_value: Any = None,
    value: Any = None,
    value_float: float | None = None,
    value_floats: Sequence[float] | None = None,
    value_int: int | None = None,
    value_ints: Sequence[int] | None = None,
    value_string: str | None = None,
    value_strings: Sequence[str] | None = None,
) -> "Tensor":
    import torch

    if sparse_value is not None or value_string is not None or value_strings is not None:
        b.refuse("a sparse constant, or one of text")
    if value is not None:
        return torch.from_numpy(np.array(value))
    whole = value_int if value_int is not None else value_ints
    real = value_float if value_float is not None else value_floats
    return torch.tensor(whole, dtype=torch.int64) if whole is not None else torch.tensor(real, dtype=torch.float32)


@TORCH.lower("ConstantOfShape")
def constant_of_shape(b: Call, shape: "Tensor", *, value: Any = None) -> "Tensor":  # noqa: ARG001
    import torch

    filled = np.zeros(1, np.float32) if value is None else np.array(value)
    return torch.from_numpy(filled).reshape(()).expand(tuple(shape.tolist()))


@TORCH.lower("Pad")
def pad(
    b: Call,
    x: "Tensor",
    pads: "Tensor",
    value: "Tensor | None" = None,
    axes: "Tensor | None" = None,
    *,
    mode: str = "constant",
) -> "Tensor":
    """Constant pads become one pad, others an index along each axis."""
    import torch

    along = [axis % x.dim() for axis in (range(x.dim()) if axes is None else axes.tolist())]
    amounts = pads.tolist()
    widths = dict(zip(along, zip(amounts[: len(along)], amounts[len(along) :], strict=True), strict=True))
    if mode == "constant":
        flat = [n for axis in reversed(range(x.dim())) for n in widths.get(axis, (0, 0))]
        return torch.nn.functional.pad(x, flat, value=0 if value is None else value.item())
    if any(n < 0 for n in amounts):
        b.refuse(f"negative pads with mode {mode}")
    for axis, width in widths.items():
        rows = np.pad(
            np.arange(x.shape[axis]), width, mode={"edge": "edge", "reflect": "reflect", "wrap": "wrap"}[mode]
        )  # type: ignore[call-overload]
        x = x.index_select(axis, torch.from_numpy(rows))
    return x


@TORCH.lower("DepthToSpace")
def depth_to_space(b: Call, x: "Tensor", *, blocksize: int, mode: str = "DCR") -> "Tensor":  # noqa: ARG001
    n, c, h, w = x.shape
    size, left = blocksize, c // blocksize**2
    if mode == "DCR":
        y = x.reshape(n, size, size, left, h, w).permute(0, 3, 4, 1, 5, 2)
    else:
        y = x.reshape(n, left, size, size, h, w).permute(0, 1, 4, 2, 5, 3)
    return y.reshape(n, left, h * size, w * size)


@TORCH.lower("SpaceToDepth")
def space_to_depth(b: Call, x: "Tensor", *, blocksize: int) -> "Tensor":  # noqa: ARG001
    n, c, h, w = x.shape
    size = blocksize
    y = x.reshape(n, c, h // size, size, w // size, size).permute(0, 3, 5, 1, 2, 4)
    return y.reshape(n, c * size * size, h // size, w // size)
