"""Pools in terms of simpler ones, and of gathers where the places of the maxima are wanted."""

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgewright.export.onnx.decompose import EXPANSIONS, Op
from edgewright.export.onnx.graph import shape_of

if TYPE_CHECKING:
    import onnx_ir as ir

FLOAT = 1  # onnx.TensorProto.FLOAT


@EXPANSIONS.lower("MaxPool")
def max_pool(
    op: Op,
    x: "ir.Value",
    *,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,  # noqa: ARG001
    dilations: Sequence[int] | None = None,
    kernel_shape: Sequence[int],
    pads: Sequence[int] | None = None,
    storage_order: int = 0,
    strides: Sequence[int] | None = None,
) -> "Sequence[ir.Value] | None":
    """Of integers: in float, which holds a byte exactly. With indices: all elements under each window side by side,
    their largest, and its place from a table."""
    shape, out = shape_of(x), shape_of(op.node.outputs[0])
    if shape is None or out is None or x.dtype is None:
        return None
    if not any(output.uses() or output.is_graph_output() for output in op.node.outputs[1:]):
        whole = x.dtype.name in ("UINT8", "INT8")
        given = {name: attribute.value for name, attribute in op.node.attributes.items() if name != "storage_order"}
        largest = op("MaxPool", op("Cast", x, to=FLOAT) if whole else x, **given)
        return [op("Cast", largest, to=x.dtype.value) if whole else largest]
    if x.dtype.name != "FLOAT":
        return None
    begins = begin_pads(shape, out, auto_pad, dilations, kernel_shape, pads, strides)
    taps = np.stack(_places(out, kernel_shape, strides, dilations, begins), axis=-1)  # [axes, windows, taps]
    inside = np.all((taps >= 0) & (taps < np.array(shape[2:])[:, None, None]), axis=0)
    return _with_indices(op, x, taps, inside, bool(storage_order)) if inside.any(axis=1).all() else None


def begin_pads(
    shape: Sequence[int],
    out: Sequence[int],
    auto_pad: str,
    dilations: Sequence[int] | None,
    kernel: Sequence[int],
    pads: Sequence[int] | None,
    strides: Sequence[int] | None,
) -> list[int]:
    """How far the first window reaches before the tensor along each spatial axis."""
    rank = len(kernel)
    if auto_pad not in ("SAME_UPPER", "SAME_LOWER"):
        return list(pads or (0,) * rank)[:rank] if auto_pad == "NOTSET" else [0] * rank
    steps = zip(shape[2:], out[2:], kernel, strides or (1,) * rank, dilations or (1,) * rank)
    totals = [max((m - 1) * s + (k - 1) * d + 1 - n, 0) for n, m, k, s, d in steps]
    return [total // 2 if auto_pad == "SAME_UPPER" else total - total // 2 for total in totals]


def _places(
    out: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int] | None,
    dilations: Sequence[int] | None,
    begins: Sequence[int],
) -> list[NDArray[np.int64]]:
    """For each element of the kernel, row by row: where it looks, [axes, windows], also outside."""
    rank = len(kernel)
    starts = [np.arange(m) * s - begin for m, s, begin in zip(out[2:], strides or (1,) * rank, begins)]
    grids = np.stack(np.meshgrid(*starts, indexing="ij")).reshape(rank, -1)
    steps = np.array(dilations or (1,) * rank)
    return [grids + (np.array(tap) * steps)[:, None] for tap in product(*map(range, kernel))]


def _with_indices(
    op: Op, x: "ir.Value", taps: NDArray[np.int64], inside: NDArray[np.bool_], columns_first: bool
) -> list["ir.Value"]:
    batch, channels, *spatial = shape_of(x) or ()
    out = shape_of(op.node.outputs[0]) or ()
    # What lies outside repeats the first element inside: it is never larger, and the same place is told for it.
    first = np.argmax(inside, axis=1)[None, :, None]
    taps = np.where(inside, taps, np.take_along_axis(taps, np.broadcast_to(first, (len(taps), *first.shape[1:])), 2))
    flat, told = (_numbered(taps, spatial, order) for order in ("C", "F" if columns_first else "C"))
    lists = op("Reshape", x, op.integers(batch, channels, int(np.prod(spatial))))
    seen = op("Gather", lists, op.constant(flat), axis=2)
    which = op("ArgMax", seen, axis=3, keepdims=0)
    row = op.constant(np.arange(len(told)) * told.shape[1])
    within = op("Gather", op.constant(told.reshape(-1)), op("Add", which, row), axis=0)
    planes = np.arange(batch * channels).reshape(batch, channels, 1) * int(np.prod(spatial))
    made = [op("ReduceMax", seen, op.integers(3), keepdims=0), op("Add", within, op.constant(planes))]
    return [op("Reshape", value, op.integers(*out)) for value in made]


def _numbered(coordinates: NDArray[np.int64], spatial: Sequence[int], order: str) -> NDArray[np.int64]:
    """Place of each coordinate in the tensor, counted by rows (C) or by columns (F)."""
    factors = np.cumprod([1, *spatial[:0:-1]])[::-1] if order == "C" else np.cumprod([1, *spatial[:-1]])
    return np.tensordot(factors, coordinates, axes=1)


@EXPANSIONS.lower("LpPool")
def lp_pool(
    op: Op,
    x: "ir.Value",
    *,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,  # noqa: ARG001
    dilations: Sequence[int] | None = None,
    kernel_shape: Sequence[int],
    p: int = 2,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> "ir.Value | None":
    """(mean of |x|^p over each window, zeros around · number of its elements)^(1/p)."""
    shape, out, rank = shape_of(x), shape_of(op.node.outputs[0]), len(kernel_shape)
    if shape is None or out is None:
        return None
    begins = begin_pads(shape, out, auto_pad, dilations, kernel_shape, pads, strides)
    steps = zip(shape[2:], out[2:], kernel_shape, strides or (1,) * rank, dilations or (1,) * rank, begins)
    ends = [max((m - 1) * s + (k - 1) * d + 1 - n - begin, 0) for n, m, k, s, d, begin in steps]
    powers = _power(op, op("Abs", x) if p % 2 else x, p)
    around = op("Pad", powers, op.integers(0, 0, *begins, 0, 0, *ends))
    means = op("AveragePool", around, kernel_shape=kernel_shape, dilations=dilations, strides=strides)
    sums = op("Mul", means, op.like(float(np.prod(kernel_shape)), x))
    return _root(op, sums, p)


@EXPANSIONS.lower("GlobalLpPool")
def global_lp_pool(op: Op, x: "ir.Value", *, p: int = 2) -> "ir.Value | None":
    shape = shape_of(x)
    if shape is None:
        return None
    powers = _power(op, op("Abs", x) if p % 2 else x, p)
    return _root(op, op("ReduceSum", powers, op.integers(*range(2, len(shape)))), p)


def _given(op: Op) -> "ir.Value":
    x = op.node.inputs[0]
    assert x is not None
    return x


def _power(op: Op, x: "ir.Value", p: int) -> "ir.Value":
    made: ir.Value = x if p == 1 else op("Mul", x, x) if p == 2 else op("Pow", x, op.like(p, _given(op)))
    return made


def _root(op: Op, x: "ir.Value", p: int) -> "ir.Value":
    made: ir.Value = (
        op("Identity", x) if p == 1 else op("Sqrt", x) if p == 2 else op("Pow", x, op.like(1 / p, _given(op)))
    )
    return made


@EXPANSIONS.lower("MaxUnpool")
def max_unpool(
    op: Op,
    x: "ir.Value",
    indices: "ir.Value",
    output_shape: "ir.Value | None" = None,  # noqa: ARG001
    *,
    kernel_shape: Sequence[int],
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> "ir.Value | None":
    """The values scattered into zeros of the size that the pool had read, then zeros up to `output_shape`."""
    shape, out, rank = shape_of(x), shape_of(op.node.outputs[0]), len(kernel_shape)
    if shape is None or out is None:
        return None
    around = list(pads or (0,) * 2 * rank)
    steps = zip(shape[2:], strides or (1,) * rank, kernel_shape, around, around[rank:])
    plain = [*shape[:2], *((n - 1) * s - begin - end + k for n, s, k, begin, end in steps)]
    blank = op.constant(np.zeros(int(np.prod(plain)), np.float32))
    flat, where = (op("Reshape", value, op.integers(-1)) for value in (x, indices))
    made = op("Reshape", op("ScatterElements", blank, where, flat, axis=0), op.integers(*plain))
    more = [m - n for m, n in zip(out, plain)]
    result: ir.Value = op("Pad", made, op.integers(*(0,) * len(out), *more)) if any(more) else made
    return result
