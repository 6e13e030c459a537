"""Constants that a program stores compressed, decoded in the types and the order of roundings of coremltools 9.0."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.runtimes.mil.constants import unpacked
from edgewright.runtimes.mil.operators import CONSTEXPR

Array = NDArray[Any]


@CONSTEXPR("constexpr_affine_dequantize")
def affine_dequantize(quantized_data: Array, zero_point: Array, scale: Array, axis: Array) -> Array:
    def along(parameter: Array) -> Array:
        shape = [-1 if i == int(axis) % quantized_data.ndim else 1 for i in range(quantized_data.ndim)]
        return parameter.reshape(shape) if parameter.ndim else parameter

    shifted = quantized_data.astype(np.float32) - along(zero_point.astype(np.float32))
    return (shifted * along(scale.astype(np.float32))).astype(scale.dtype)


@CONSTEXPR("constexpr_blockwise_shift_scale")
def blockwise_shift_scale(data: Array, scale: Array, offset: Array | None = None) -> Array:
    """Every axis may be cut into blocks. Computed in the type of the scale."""
    found = data.astype(scale.dtype)
    if offset is not None:
        found = found - _repeated(offset, data.shape)
    return np.asarray(_repeated(scale, data.shape) * found, scale.dtype)


@CONSTEXPR("constexpr_cast")
def cast(source_val: Array, output_dtype: str) -> Array:
    return source_val.astype({"fp16": np.float16, "fp32": np.float32}[output_dtype])


@CONSTEXPR("constexpr_lut_to_dense")
def lut_to_dense(indices: Array, lut: Array, shape: Array | None = None, vector_axis: Array | None = None) -> Array:
    """With `shape` (iOS 16) indices are packed bits for one table; else `lut` is [blocks by axis, entries, vector]."""
    if shape is not None:
        width, lengths = int(np.log2(lut.size)), [int(n) for n in shape]
        return np.asarray(lut[unpacked(indices, width, int(np.prod(lengths)))].reshape(lengths))
    vector = lut.shape[-1]
    tables = tuple(
        np.arange(length).reshape([-1 if i == axis else 1 for i in range(indices.ndim)]) // (length // lut.shape[axis])
        for axis, length in enumerate(indices.shape)
    )
    found = lut[(*tables, indices.astype(np.intp))]  # [..., vector]
    if vector == 1:
        return np.asarray(found[..., 0])
    assert vector_axis is not None
    axis = int(vector_axis) % indices.ndim
    lengths = [n * vector if i == axis else n for i, n in enumerate(indices.shape)]
    return np.asarray(np.moveaxis(found, -1, axis + 1).reshape(lengths))


@CONSTEXPR("constexpr_sparse_to_dense")
def sparse_to_dense(nonzero_data: Array, mask: Array, shape: Array | None = None) -> Array:
    """With `shape` (iOS 16) the mask is packed bits."""
    if shape is not None:
        lengths = [int(n) for n in shape]
        mask = unpacked(mask, 1, int(np.prod(lengths))).reshape(lengths)
    found = np.zeros(mask.shape, nonzero_data.dtype)
    found[mask != 0] = nonzero_data
    return found


@CONSTEXPR("constexpr_lut_to_sparse")
def lut_to_sparse(
    indices_mask: Array, indices_nonzero_data: Array, lut: Array, vector_axis: Array | None = None
) -> tuple[Array, Array]:
    dense = lut_to_dense(sparse_to_dense(indices_nonzero_data, indices_mask), lut, None, vector_axis)
    vector = lut.shape[-1]
    mask = np.repeat(indices_mask, vector, int(vector_axis)) if vector > 1 and vector_axis is not None else indices_mask
    return mask, dense[mask != 0]


@CONSTEXPR("constexpr_sparse_blockwise_shift_scale")
def sparse_blockwise_shift_scale(
    data_mask: Array, nonzero_data: Array, scale: Array, offset: Array | None = None
) -> tuple[Array, Array]:
    dense = blockwise_shift_scale(sparse_to_dense(nonzero_data, data_mask), scale, offset)
    return data_mask, dense[data_mask != 0]


def _repeated(parameter: Array, shape: tuple[int, ...]) -> Array:
    for axis, length in enumerate(shape):
        if parameter.shape[axis] != length:
            parameter = np.repeat(parameter, length // parameter.shape[axis], axis)
    return parameter
