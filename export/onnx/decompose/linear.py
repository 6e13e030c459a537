"""Matrix products of any rank and element type, as MatMuls of rank 2 and up."""

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from edgewright.export.onnx.decompose import EXPANSIONS, Op
from edgewright.export.onnx.graph import shape_of

if TYPE_CHECKING:
    import onnx_ir as ir

EXACT_TERMS = 256
"""So many products of 9-bit differences (255², 16.6 million in all) add up exactly in float32, in any order."""


@EXPANSIONS.lower("MatMul")
def matmul(op: Op, a: "ir.Value", b: "ir.Value") -> "ir.Value | None":
    """A row and a column get a second axis, more than one batch axis are made one, whole numbers are summed as such."""
    first, second, made = shape_of(a), shape_of(b), shape_of(op.node.outputs[0])
    if first is None or second is None or made is None:
        return None
    if 0 in (*first, *second):  # nothing to add up
        return op.constant(np.zeros(made, np.float32 if a.dtype is None else a.dtype.numpy()))
    if len(first) == 1 or len(second) == 1:
        a = op.reshape(a, (1, *first)) if len(first) == 1 else a
        b = op.reshape(b, (*second, 1)) if len(second) == 1 else b
        return op.reshape(op("MatMul", a, b), made)
    if a.dtype is not None and a.dtype.is_integer():
        return _whole(op, a, b)
    if max(len(first), len(second)) > 3:
        rows, batch = made[-2:], made[:-2]
        left = _one_batch(op, a, (*batch, *first[-2:]))
        return op.reshape(op("MatMul", left, _one_batch(op, b, (*batch, *second[-2:]))), (*batch, *rows))
    return None


def _one_batch(op: Op, value: "ir.Value", shape: tuple[int, ...]) -> "ir.Value":
    full = value if shape_of(value) == shape else op("Expand", value, op.integers(*shape))
    return op.reshape(full, (prod(shape[:-2]), *shape[-2:]))


def _whole(op: Op, a: "ir.Value", b: "ir.Value") -> "ir.Value":
    """Σ over the shared axis of a[…, m, k, 1] · b[…, 1, k, n]."""
    columns = op("Unsqueeze", a, op.integers(-1))
    rows = op("Unsqueeze", b, op.integers(-3))
    made: ir.Value = op("ReduceSum", op("Mul", columns, rows), op.integers(-2), keepdims=0)
    return made


@EXPANSIONS.lower("Gemm")
def gemm(
    op: Op,
    a: "ir.Value",
    b: "ir.Value",
    c: "ir.Value | None" = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,  # noqa: N803
    transB: int = 0,  # noqa: N803
) -> "ir.Value | None":
    """Of whole numbers: a MatMul and an Add."""
    if a.dtype is None or not a.dtype.is_integer() or {alpha, beta} != {1.0}:
        return None
    left = op("Transpose", a, perm=[1, 0]) if transA else a
    product: ir.Value = op("MatMul", left, op("Transpose", b, perm=[1, 0]) if transB else b)
    return product if c is None else op("Add", product, c)


@EXPANSIONS.lower("MatMulInteger")
def matmul_integer(
    op: Op,
    a: "ir.Value",
    b: "ir.Value",
    a_zero_point: "ir.Value | None" = None,
    b_zero_point: "ir.Value | None" = None,
) -> "ir.Value | None":
    """In float32, at most 256 terms at a time, which is exact; the parts are added up in int32."""
    import onnx_ir as ir

    first, second = shape_of(a), shape_of(b)
    if first is None or second is None:
        return None
    left = centred(op, a, a_zero_point, -2)
    right = centred(op, b, b_zero_point, -1)
    depth, pairs = first[-1], [(left, right)]
    if depth > EXACT_TERMS:
        cuts = range(0, depth, EXACT_TERMS)
        pairs = [(_part(op, left, -1, n, depth), _part(op, right, max(-2, -len(second)), n, depth)) for n in cuts]
    return op.sum([op.cast(op("MatMul", *pair), ir.DataType.INT32) for pair in pairs])


@EXPANSIONS.lower("ConvInteger")
def conv_integer(
    op: Op,
    x: "ir.Value",
    w: "ir.Value",
    x_zero_point: "ir.Value | None" = None,
    w_zero_point: "ir.Value | None" = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: tuple[int, ...] | None = None,
    group: int = 1,
    kernel_shape: tuple[int, ...] | None = None,
    pads: tuple[int, ...] | None = None,
    strides: tuple[int, ...] | None = None,
) -> "ir.Value | None":
    """In float32, at most 256 terms at a time, which is exact; the parts are added up in int32."""
    import onnx_ir as ir

    shape = shape_of(w)
    if shape is None:
        return None
    window = prod(shape[2:])
    if window > EXACT_TERMS or (group > 1 and window * shape[1] > EXACT_TERMS):
        return None
    given: dict[str, Any] = {
        "auto_pad": auto_pad,
        "dilations": dilations,
        "group": group,
        "kernel_shape": kernel_shape,
        "pads": pads,
        "strides": strides,
    }
    image, weight = centred(op, x, x_zero_point, None), centred(op, w, w_zero_point, 0)
    step, parts = EXACT_TERMS // window, [(image, weight)]
    if shape[1] > step:
        cuts = range(0, shape[1], step)
        parts = [(_part(op, image, 1, n, shape[1], step), _part(op, weight, 1, n, shape[1], step)) for n in cuts]
    return op.sum([op.cast(op("Conv", *part, **given), ir.DataType.INT32) for part in parts])


def centred(op: Op, codes: "ir.Value", zero_point: "ir.Value | None", axis: int | None) -> "ir.Value":
    """codes - zero point in float32; several zero points lie along `axis`."""
    import onnx_ir as ir

    real = op.cast(codes, ir.DataType.FLOAT)
    if zero_point is None or (zero_point.const_value is not None and not zero_point.const_value.numpy().any()):
        return real
    shift, length = op.cast(zero_point, ir.DataType.FLOAT), shape_of(zero_point)
    if axis is not None and length is not None and len(length) == 1 and length != (1,):
        rank = len(shape_of(codes) or ())
        shift = op.reshape(shift, [length[0] if n == axis % rank else 1 for n in range(rank)])
    made: ir.Value = op("Sub", real, shift)
    return made


def _part(op: Op, value: "ir.Value", axis: int, start: int, length: int, step: int = EXACT_TERMS) -> "ir.Value":
    end = min(start + step, length)
    made: ir.Value = op("Slice", value, op.integers(start), op.integers(end), op.integers(axis))
    return made


@EXPANSIONS.lower("Det")
def det(op: Op, x: "ir.Value") -> "ir.Value | None":
    """Of matrices up to 3×3, by cofactors."""
    shape = shape_of(x)
    if shape is None or not 1 <= shape[-1] <= 3:
        return None
    rows = range(shape[-1])
    place = [op.constant(np.array(n, np.int64)) for n in rows]
    lines = [op("Gather", x, place[r], axis=-2) for r in rows]
    cells = {(r, c): op("Gather", lines[r], place[c], axis=-1) for r in rows for c in rows}
    return _cofactors(op, cells, 0, tuple(rows))


def _cofactors(op: Op, cells: "dict[tuple[int, int], ir.Value]", row: int, columns: tuple[int, ...]) -> "ir.Value":
    total = None
    for position, column in enumerate(columns):
        term, left = cells[row, column], columns[:position] + columns[position + 1 :]
        if left:
            term = op("Mul", term, _cofactors(op, cells, row + 1, left))
        total = term if total is None else op("Sub" if position % 2 else "Add", total, term)
    assert total is not None
    return total
