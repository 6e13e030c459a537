"""The operators of the file, in order, before they become bytes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.errors import Error
from edgewright.export.tflite.kernels import KERNELS, version_of
from edgewright.export.tflite.tensor import Quantization, Tensor

HALF_FROM_ELEMENTS = 64
"""Smaller constants stay float32: the DEQUANTIZE that a float16 one needs is longer than the bytes it saves (measured
on MobileNetV2 and EfficientNet-Lite0). So do those of rank 1, biases: few bytes, and rounding them costs 1 to 2 dB."""


@dataclass(frozen=True, eq=False)
class Op:
    """An operator by its name in the schema; `options` are fields of its options table."""

    code: str
    version: int
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    options: Mapping[str, Any]


class Builder:
    """Collects operators. With `half`, float32 constants become FLOAT16 plus a DEQUANTIZE.

    int8 weights of a float operator get a DEQUANTIZE; with `dynamic` they stay where a kernel multiplies integers.
    Consecutive RESHAPEs and TRANSPOSEs are composed as they are made; what this leaves unused is dropped by `live`.
    """

    def __init__(self, *, half: bool = False, dynamic: bool = False) -> None:
        self.ops: list[Op] = []
        self.too_large_for_half: list[str] = []
        self.dynamic = dynamic
        self._half = half
        self._decoded: dict[Tensor, Tensor] = {}
        self._producer: dict[Tensor, Op] = {}

    def tensor(self, name: str, shape: Sequence[int], dtype: Any, quantization: Quantization | None = None) -> Tensor:
        """A new tensor that an operator will fill."""
        return Tensor(name, tuple(int(n) for n in shape), np.dtype(dtype), None, quantization)

    def constant(self, array: NDArray[Any], name: str, quantization: Quantization | None = None) -> Tensor:
        return Tensor(name, array.shape, array.dtype, array, quantization)

    def emit(
        self,
        code: str,
        inputs: Sequence[Tensor | None],
        outputs: Sequence[Tensor],
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Append an operator. Raises Error where its int8 kernel would not compute what these scales say."""
        stored = [tensor if self.keeps_codes(code, inputs, outputs) else self._decode(tensor) for tensor in inputs]
        given = tuple(self._halve(tensor) for tensor in stored)
        _check_scales(code, given, outputs)
        chosen = options or {}
        op = Op(code, version_of(code, given, outputs[0], chosen), given, tuple(outputs), chosen)
        self.ops.append(op)
        self._producer.update((output, op) for output in outputs)

    def keeps_codes(self, code: str, inputs: Sequence[Tensor | None], outputs: Sequence[Tensor]) -> bool:
        """Whether the kernel reads int8 constants as they are: one on int8, or with `dynamic` a plain convolution,
        which quantizes its input at run time. Grouped, depthwise and transposed ones have no such kernel in all
        runtimes."""
        if outputs[0].is_int8 or code == "DEQUANTIZE":
            return True
        x, w = inputs[0], inputs[1] if len(inputs) > 1 else None
        plain = code == "CONV_2D" and x is not None and w is not None and x.shape[3] == w.shape[3]
        return self.dynamic and plain

    def reshape(self, tensor: Tensor, shape: Sequence[int], to: Tensor | None = None) -> Tensor:
        """`tensor` with another shape; an existing tensor when there is one and `to` is not given."""
        source = tensor
        while (op := self._producer.get(source)) is not None and op.code == "RESHAPE":
            source = op.inputs[0] or source
        wanted = tuple(int(n) for n in shape)
        if to is None:
            for known in (tensor, source):
                if known.shape == wanted:
                    return known
            to = self._like(tensor, wanted, "reshaped")
        self.emit("RESHAPE", [source, self.constant(np.array(wanted, np.int32), f"{to.name}/shape")], [to])
        return to

    def transpose(self, tensor: Tensor, order: Sequence[int], to: Tensor | None = None) -> Tensor:
        """`tensor` with its axes in another order; a RESHAPE where only axes of length 1 move."""
        source, axes = tensor, tuple(int(axis) for axis in order)
        while (op := self._producer.get(source)) is not None and op.code == "TRANSPOSE":
            before, permutation = op.inputs[0], op.inputs[1]
            assert before is not None and permutation is not None and permutation.data is not None
            axes = tuple(int(permutation.data[axis]) for axis in axes)
            source = before
        shape = tuple(source.shape[axis] for axis in axes)
        if axes == tuple(range(len(axes))) and to is None:
            return source
        moving = [axis for axis in axes if source.shape[axis] != 1]
        if moving == sorted(moving):
            return self.reshape(source, shape, to)
        to = to or self._like(tensor, shape, "transposed")
        self.emit("TRANSPOSE", [source, self.constant(np.array(axes, np.int32), f"{to.name}/order")], [to])
        return to

    def produced(self, tensor: Tensor) -> bool:
        """Whether an operator (not an input or a constant) gives it."""
        return tensor in self._producer

    def live(self, outputs: Sequence[Tensor]) -> list[Op]:
        """The operators that the outputs need, in order."""
        needed: set[Tensor] = set(outputs)
        kept: list[Op] = []
        for op in reversed(self.ops):
            if not needed.isdisjoint(op.outputs):
                kept.append(op)
                needed.update(tensor for tensor in op.inputs if tensor is not None)
        return kept[::-1]

    def _like(self, tensor: Tensor, shape: tuple[int, ...], suffix: str) -> Tensor:
        return self.tensor(f"{tensor.name}/{suffix}", shape, tensor.dtype, tensor.quantization)

    def _halve(self, tensor: Tensor | None) -> Tensor | None:
        if not self._half or tensor is None or tensor.data is None or tensor.dtype != np.float32:
            return tensor
        if tensor.data.ndim < 2 or tensor.data.size < HALF_FROM_ELEMENTS:
            return tensor
        if tensor not in self._decoded:
            self._decoded[tensor] = self._as_half(tensor, tensor.data)
        return self._decoded[tensor]

    def _decode(self, tensor: Tensor | None) -> Tensor | None:
        """The float32 tensor that a DEQUANTIZE makes of int8 weights; any other operand as it is."""
        if tensor is None or tensor.data is None or not tensor.is_int8 or tensor.quantization is None:
            return tensor
        if tensor not in self._decoded:
            real = Tensor(f"{tensor.name}/dequantized", tensor.shape, np.dtype(np.float32))
            version = version_of("DEQUANTIZE", [tensor], real, {})
            self.ops.append(Op("DEQUANTIZE", version, (tensor,), (real,), {}))
            self._decoded[tensor] = real
        return self._decoded[tensor]

    def _as_half(self, tensor: Tensor, data: NDArray[Any]) -> Tensor:
        if np.abs(data).max() > np.finfo(np.float16).max:
            self.too_large_for_half.append(tensor.name)
            return tensor
        half = self.constant(data.astype(np.float16), f"{tensor.name}/float16")
        full = Tensor(tensor.name, tensor.shape, tensor.dtype)
        self.ops.append(Op("DEQUANTIZE", version_of("DEQUANTIZE", [half], full, {}), (half,), (full,), {}))
        return full


def _check_scales(code: str, inputs: Sequence[Tensor | None], outputs: Sequence[Tensor]) -> None:
    kernel = KERNELS[code]
    for output in outputs:
        if not output.is_int8:
            continue
        if output.quantization is None:
            raise Error(f"{output.name}: int8 without a scale; quantize the ONNX file so that it has one")
        if kernel.output is not None:
            fixed = Quantization(np.array([kernel.output[0]], np.float32), np.array([kernel.output[1]]))
            if not fixed.same(output.quantization):
                raise Error(f"{output.name}: int8 {code} writes {fixed}, the ONNX file says {output.quantization}")
        for source in inputs if kernel.equal_scales else ():
            if source is not None and source.is_int8 and not output.quantization.same(source.quantization):
                raise Error(
                    f"{output.name}: int8 {code} needs equal scales; input {source.name} has {source.quantization}, "
                    f"the output {output.quantization}. Tie them where the ONNX file is quantized."
                )
