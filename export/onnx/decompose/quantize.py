"""Quantization that no kernel does, in float32 arithmetic: computed scales, blocks, codes between float operators."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgewright.export.onnx.decompose import EXPANSIONS, Op
from edgewright.export.onnx.graph import shape_of

if TYPE_CHECKING:
    import onnx_ir as ir

BYTES = ("INT8", "UINT8")
SHORTS = ("INT16", "UINT16")


@EXPANSIONS.lower("QuantizeLinear")
def quantize_linear(
    op: Op,
    x: "ir.Value",
    scale: "ir.Value",
    zero_point: "ir.Value | None" = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
    saturate: int = 1,  # noqa: ARG001
) -> "ir.Value | None":
    """clip(round(x / scale) + zero point), rounding half to even."""
    import onnx_ir as ir

    kind = zero_point.dtype if zero_point is not None else ir.DataType(output_dtype or ir.DataType.UINT8)
    if kind is None or kind.name not in BYTES + SHORTS or {x.dtype, scale.dtype} != {ir.DataType.FLOAT}:
        return None
    placed = [_placed(op, value, x, axis, block_size) for value in (scale, zero_point)]
    codes = op("Round", op("Div", x, placed[0]))
    if placed[1] is not None:
        codes = op("Add", codes, op.cast(placed[1], ir.DataType.FLOAT))
    limits = np.iinfo(kind.numpy())
    return op.cast(op("Clip", codes, op.like(limits.min, x), op.like(limits.max, x)), kind)


@EXPANSIONS.lower("DequantizeLinear")
def dequantize_linear(
    op: Op,
    x: "ir.Value",
    scale: "ir.Value",
    zero_point: "ir.Value | None" = None,
    *,
    axis: int = 1,
    block_size: int = 0,
) -> "ir.Value | None":
    """(code - zero point) · scale."""
    import onnx_ir as ir

    if scale.dtype != ir.DataType.FLOAT or x.dtype is None or not x.dtype.is_integer():
        return None
    placed = [_placed(op, value, x, axis, block_size) for value in (scale, zero_point)]
    real = op.cast(x, ir.DataType.FLOAT)
    if placed[1] is not None:
        real = op("Sub", real, op.cast(placed[1], ir.DataType.FLOAT))
    return op("Mul", real, placed[0])  # type: ignore[no-any-return]


def _placed(op: Op, value: "ir.Value | None", x: "ir.Value", axis: int, block_size: int) -> "ir.Value | None":
    """Scales or zero points where they meet `x`: along its axis, or each repeated for a block of it."""
    shape, length = shape_of(x), shape_of(value)
    if value is None or shape is None or not length or length == (1,):
        return value
    axis %= len(shape)
    if not block_size:
        return op.reshape(value, [length[0] if n == axis else 1 for n in range(len(shape))])
    blocks = np.arange(shape[axis], dtype=np.int64) // block_size
    made: ir.Value = op("Gather", value, op.constant(blocks), axis=axis)
    return made


@EXPANSIONS.lower("QLinearMatMul")
def qlinear_matmul(
    op: Op,
    a: "ir.Value",
    a_scale: "ir.Value",
    a_zero_point: "ir.Value",
    b: "ir.Value",
    b_scale: "ir.Value",
    b_zero_point: "ir.Value",
    y_scale: "ir.Value",
    y_zero_point: "ir.Value",
) -> "ir.Value | None":
    """Between Q and DQ where an int8 kernel takes it whole, else exactly, as its integers say."""
    if _is_int8(op):
        left = op("DequantizeLinear", a, _row(op, a_scale), _row(op, a_zero_point))
        right = op("DequantizeLinear", b, _row(op, b_scale), _row(op, b_zero_point), axis=-1)
        return op("QuantizeLinear", op("MatMul", left, right), _row(op, y_scale), _row(op, y_zero_point))  # type: ignore[no-any-return]
    total = op("MatMulInteger", a, b, a_zero_point, b_zero_point)
    rows, columns = _column(op, a_scale), _row(op, b_scale)
    return _requantized(op, total, op("Mul", rows, columns), _column(op, y_scale), _column(op, y_zero_point))


@EXPANSIONS.lower("QLinearConv")
def qlinear_conv(
    op: Op,
    x: "ir.Value",
    x_scale: "ir.Value",
    x_zero_point: "ir.Value",
    w: "ir.Value",
    w_scale: "ir.Value",
    w_zero_point: "ir.Value",
    y_scale: "ir.Value",
    y_zero_point: "ir.Value",
    bias: "ir.Value | None" = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: tuple[int, ...] | None = None,
    group: int = 1,
    kernel_shape: tuple[int, ...] | None = None,
    pads: tuple[int, ...] | None = None,
    strides: tuple[int, ...] | None = None,
) -> "ir.Value | None":
    """Between Q and DQ where an int8 kernel takes it whole, else exactly, as its integers say."""
    window: dict[str, Any] = {
        "auto_pad": auto_pad,
        "dilations": dilations,
        "group": group,
        "kernel_shape": kernel_shape,
        "pads": pads,
        "strides": strides,
    }
    shape = shape_of(w)
    if _is_int8(op):
        image = op("DequantizeLinear", x, _row(op, x_scale), _row(op, x_zero_point))
        operands = [image, op("DequantizeLinear", w, _row(op, w_scale), _row(op, w_zero_point), axis=0)]
        if bias is not None:
            factor = op.constant(_known(x_scale) * _known(w_scale))
            operands.append(op("DequantizeLinear", bias, _row(op, factor), axis=0))
        result = op("Conv", *operands, **window)
        return op("QuantizeLinear", result, _row(op, y_scale), _row(op, y_zero_point))  # type: ignore[no-any-return]
    if shape is None:
        return None
    channels = (1, -1, *(1 for _ in shape[2:]))
    total = op("ConvInteger", x, w, x_zero_point, _row(op, w_zero_point), **window)
    if bias is not None:
        total = op("Add", total, op.reshape(bias, channels))
    factors = op.reshape(op("Mul", x_scale, w_scale), channels)
    return _requantized(op, total, factors, _row(op, y_scale), _row(op, y_zero_point))


def _requantized(
    op: Op, total: "ir.Value", scale: "ir.Value", y_scale: "ir.Value", y_zero_point: "ir.Value"
) -> "ir.Value | None":
    import onnx_ir as ir

    zero_point = op.node.inputs[7]
    kind = None if zero_point is None else zero_point.dtype
    if kind is None or kind.name not in BYTES or y_scale.dtype not in (None, ir.DataType.FLOAT):
        return None
    real = op("Mul", op("Cast", total, to=int(ir.DataType.FLOAT)), op("Div", scale, y_scale))
    codes = op("Add", op("Round", real), op.cast(y_zero_point, ir.DataType.FLOAT))
    limits = np.iinfo(kind.numpy())
    bounds = [op.constant(np.array(bound, np.float32)) for bound in (limits.min, limits.max)]
    return op.cast(op("Clip", codes, *bounds), kind)


def _is_int8(op: Op) -> bool:
    """Whether int8 kernels compute it: symmetric constant weights, int8 on both sides, and all scales known."""
    _, *parameters = op.node.inputs[:8]
    if any(value is None or value.const_value is None for value in parameters):
        return False
    x_zero_point, w, w_zero_point, y_zero_point = (op.node.inputs[index] for index in (2, 3, 5, 7))
    types = {value.dtype for value in (x_zero_point, w, y_zero_point) if value is not None}
    return (
        {kind.name for kind in types if kind} == {"INT8"}
        and w_zero_point is not None
        and not _known(w_zero_point).any()
    )


def _known(value: "ir.Value") -> NDArray[Any]:
    assert value.const_value is not None
    return value.const_value.numpy()


def _row(op: Op, value: "ir.Value") -> "ir.Value":
    """A scale or zero point [1] as rank 0; all others as they are."""
    if shape_of(value) != (1,):
        return value
    return op.constant(_known(value).reshape(())) if value.const_value is not None else op.reshape(value, ())


def _column(op: Op, value: "ir.Value") -> "ir.Value":
    """One for each row of a matrix."""
    shape = shape_of(value)
    return _row(op, value) if not shape or len(shape) > 1 or shape == (1,) else op.reshape(value, (shape[0], 1))
