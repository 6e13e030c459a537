"""The int8 truth: quantized weights stay int8 in the file, activations pass through quantize and dequantize."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgewright.export.coreml.builder import CODES, MilBuilder, Value, element_type
from edgewright.export.coreml.lowerings import COREML
from edgewright.export.coreml.numbers import SMALLEST_FLOAT16

if TYPE_CHECKING:
    import onnx_ir as ir


def _has_codes(node: "ir.Node") -> bool:
    """Bytes, with one scale or one for each channel that are known ahead. MIL's operations do no more."""
    kind, scale = node.outputs[0].dtype, node.inputs[1]
    fixed = scale is not None and scale.const_value is not None and not node.attributes.get_int("block_size", 0)
    return fixed and kind is not None and kind.name in ("INT8", "UINT8")


def _expands_bytes(node: "ir.Node") -> bool:
    codes, scale = node.inputs[:2]
    if codes is None or codes.const_value is not None or codes.dtype is None:
        return True
    fixed = scale is not None and scale.const_value is not None and not node.attributes.get_int("block_size", 0)
    return fixed and codes.dtype.name in ("INT8", "UINT8")


@COREML.lower("QuantizeLinear", layout="axis", fits=_has_codes)
def quantize(
    b: MilBuilder,
    x: Value,
    scale: Value,
    zero_point: Value = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,  # noqa: ARG001 (the output's type tells)
    saturate: int = 1,  # noqa: ARG001 (for 8-bit floats)
) -> Value:
    kind = b.node.outputs[0].dtype
    codes = kind.name.lower() if kind is not None else "uint8"
    if codes not in ("int8", "uint8") or block_size:
        raise b.refusal(f"{codes} codes{' in blocks' if block_size else ''}")
    steps, zeros = steps_and_zeros(b, scale, zero_point, codes)
    along = {"axis": axis} if steps.ndim else {}
    return b.mb.quantize(input=x, scale=steps, zero_point=zeros, output_dtype=codes, **along)


@COREML.lower("DequantizeLinear", layout="axis", fits=_expands_bytes)
def dequantize(
    b: MilBuilder, x: Value, scale: Value, zero_point: Value = None, *, axis: int = 1, block_size: int = 0
) -> Value:
    """A constant in int32 is a bias and becomes a float constant; in int8 a weight, which stays compressed."""
    if isinstance(x, np.ndarray) and (x.dtype.name == "int4" or (block_size and x.dtype == np.int8)):
        return compressed_blocks(b, x, b.constant(scale, "scale"), zero_point, axis, block_size)
    if block_size:
        raise b.refusal("codes in blocks")
    if isinstance(x, np.ndarray) and x.dtype == np.int32:
        return real_bias(x, b.constant(scale, "scale"), zero_point, axis)
    codes = element_type(x)
    kind = b.node.inputs[0].dtype if b.node.inputs[0] is not None else None
    if codes == "int32" and kind is not None and kind.name.lower() in CODES:
        codes = kind.name.lower()
        x = b.mb.cast(x=x, dtype=codes)
    if codes not in ("int8", "uint8"):
        raise b.refusal(f"{codes} codes")
    steps, zeros = steps_and_zeros(b, scale, zero_point, codes)
    if isinstance(x, np.ndarray):
        return compressed(b, x, steps, zeros, axis)
    along = {"axis": axis} if steps.ndim else {}
    return b.mb.dequantize(input=x, scale=steps, zero_point=zeros, **along)


def steps_and_zeros(b: MilBuilder, scale: Value, zero_point: Value, codes: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Scale and zero point as arrays of one shape; a scale that rounded to zero becomes the smallest float16."""
    steps = np.maximum(b.constant(scale, "scale"), smallest_scale(b))
    if zero_point is None:
        return steps, np.zeros(steps.shape, codes)
    return steps, b.constant(zero_point, "zero point")


def smallest_scale(b: MilBuilder) -> np.floating[Any]:
    """What a scale that rounded to zero becomes."""
    return b.dtype(SMALLEST_FLOAT16 if b.dtype is np.float16 else 0)


def real_bias(codes: NDArray[Any], scale: NDArray[Any], zero_point: Value, axis: int) -> NDArray[np.float32]:
    """scale · (codes - zero point), in float32 as ONNX Runtime computes it."""
    shape = [1] * codes.ndim
    if scale.ndim:
        shape[axis if codes.ndim > 1 else 0] = -1
    zeros = 0 if zero_point is None else np.reshape(zero_point, shape)
    return (codes - zeros).astype(np.float32) * scale.astype(np.float32).reshape(shape)


def compressed(b: MilBuilder, codes: NDArray[Any], steps: NDArray[Any], zeros: NDArray[Any], axis: int) -> Value:
    """A weight that the runtime expands: int8 in the file. iOS18 has its own operation for it."""
    if not codes.ndim:  # MIL compresses no scalar
        return np.asarray((codes - zeros.astype(np.float32)) * steps, steps.dtype)
    along = axis if steps.ndim else 0
    if b.opset < "iOS18":
        return b.mb.constexpr_affine_dequantize(quantized_data=codes, scale=steps, zero_point=zeros, axis=along)
    shape = [1] * codes.ndim
    if steps.ndim:
        shape[along] = -1
    offset = {"offset": zeros.reshape(shape)} if zeros.any() else {}  # absent means symmetric
    return b.mb.constexpr_blockwise_shift_scale(data=codes, scale=steps.reshape(shape), **offset)


def compressed_blocks(
    b: MilBuilder, codes: NDArray[Any], scale: NDArray[Any], zero_point: Value, axis: int, block_size: int
) -> Value:
    """int4 or int8 weights with a scale and a zero point for each block along `axis`; absent zero points are 0.

    Where they are the same at all places of a kernel, they are written once.
    """
    from coremltools.converters.mil.mil import types  # type: ignore[import-untyped]

    if b.opset < "iOS18":
        raise b.refusal(f"{codes.dtype.name} weights in blocks need target iOS18 / watchOS11 or later")
    if scale.ndim != codes.ndim or scale.shape[axis] * block_size != codes.shape[axis]:
        raise b.refusal(f"{codes.dtype.name} weights without whole blocks")
    kind = types.nptype_from_builtin(types.int4) if codes.dtype.name == "int4" else np.int8
    data, steps = codes.astype(np.int8).astype(kind), np.maximum(scale, smallest_scale(b))
    zeros = None if zero_point is None else b.constant(zero_point, "zero point").astype(np.int8)
    parameters = [steps] if zeros is None or not zeros.any() else [steps, zeros]
    steps, *rest = _written_once(parameters)
    offset = {"offset": rest[0].astype(kind)} if rest else {}
    return b.mb.constexpr_blockwise_shift_scale(data=data, scale=steps, **offset)


def _written_once(parameters: list[NDArray[Any]]) -> list[NDArray[Any]]:
    """With length 1 along each axis on which none of them varies."""
    for axis in range(parameters[0].ndim):
        if all((each == each.take([0], axis)).all() for each in parameters):
            parameters = [each.take([0], axis) for each in parameters]
    return parameters
