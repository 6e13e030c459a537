"""Discrete Fourier transforms of constant length, as one matrix product each."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgewright.export.onnx.decompose import EXPANSIONS, Op
from edgewright.export.onnx.graph import constant, shape_of

if TYPE_CHECKING:
    import onnx_ir as ir


@EXPANSIONS.lower("DFT")
def dft(
    op: Op,
    x: "ir.Value",
    dft_length: "ir.Value | None" = None,
    axis: "ir.Value | None" = None,
    *,
    inverse: int = 0,
    onesided: int = 0,
) -> "ir.Value | None":
    """x[…, L, 1 or 2] · basis[L·(1 or 2), K·2], along any axis; the inverse of half a spectrum is real."""
    shape, place, given = shape_of(x), constant(op.node, 2), constant(op.node, 1)
    if shape is None or (axis is not None and place is None) or (dft_length is not None and given is None):
        return None
    along = (-2 if place is None else int(place.item())) % len(shape)
    to_real = bool(inverse and onesided)
    length = int(given.item()) if given is not None else 2 * (shape[along] - 1) if to_real else shape[along]
    read = min(shape[along], length // 2 + 1 if to_real else length)
    if read < shape[along]:
        x = op("Slice", x, op.integers(0), op.integers(read), op.integers(along))
    basis = _real_basis(read, length) if to_real else _basis(read, length, bool(inverse), bool(onesided), shape[-1])
    order = [*(n for n in range(len(shape)) if n not in (along, len(shape) - 1)), along, len(shape) - 1]
    spectrum = _transform(op, op("Transpose", x, perm=order), [shape[n] for n in order[:-2]], basis)
    made: ir.Value = op("Transpose", spectrum, perm=np.argsort(order).tolist())
    return made


@EXPANSIONS.lower("STFT")
def stft(
    op: Op,
    signal: "ir.Value",
    frame_step: "ir.Value",  # noqa: ARG001
    window: "ir.Value | None" = None,
    frame_length: "ir.Value | None" = None,  # noqa: ARG001
    *,
    onesided: int = 1,
) -> "ir.Value | None":
    """Frames by a Gather, times the window, through one product."""
    shape, step, length = shape_of(signal), constant(op.node, 1), constant(op.node, 3)
    span = int(length.item()) if length is not None else (shape_of(window) or (0,))[0]
    if shape is None or step is None or not span:
        return None
    starts = np.arange(0, shape[1] - span + 1, int(step.item()))
    frames = op("Gather", signal, op.constant(starts[:, None] + np.arange(span)), axis=1)
    if window is not None:
        frames = op("Mul", frames, op.reshape(window, (span, 1)))
    basis = _basis(span, span, False, bool(onesided), shape[2])
    return _transform(op, frames, [shape[0], len(starts)], basis)


def _transform(op: Op, x: "ir.Value", outer: list[int], basis: NDArray[np.float64]) -> "ir.Value":
    """[outer, L, C] · basis[L, C, K, D] → [outer, K, D]."""
    length, parts, bins, made = basis.shape
    flat = op.reshape(x, [*outer, length * parts])
    matrix = op.constant(basis.reshape(length * parts, bins * made).astype(np.float32))
    return op.reshape(op("MatMul", flat, matrix), [*outer, bins, made])


def _basis(read: int, length: int, inverse: bool, onesided: bool, parts: int) -> NDArray[np.float64]:
    """[read, parts, bins, 2]: real and imaginary part of what each part of each sample gives to each bin."""
    bins = length // 2 + 1 if onesided else length
    wave = _waves(read, bins, length, 1 if inverse else -1) / (length if inverse else 1)
    rows = [np.stack([wave.real, wave.imag], -1), np.stack([-wave.imag, wave.real], -1)]
    return np.stack(rows[:parts], 1)


def _real_basis(read: int, length: int) -> NDArray[np.float64]:
    """[read, 2, length, 1]: the bins left out mirror the others."""
    bins = np.arange(read)
    weight = np.where((bins == 0) | (2 * bins == length), 1, 2) / length
    wave = _waves(read, length, length, 1) * weight[:, None]
    basis: NDArray[np.float64] = np.stack([wave.real, -wave.imag], 1)[..., None]
    return basis


def _waves(rows: int, columns: int, length: int, sign: int) -> NDArray[np.complex128]:
    turns = np.outer(np.arange(rows), np.arange(columns)) % length  # exact before it is divided
    waves: NDArray[np.complex128] = np.exp(sign * 2j * np.pi * turns / length)
    return waves
