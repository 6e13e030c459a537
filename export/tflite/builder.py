"""The operators of the file, in order, before they become bytes."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.errors import Error
from edgewright.export.tflite.kernels import KERNELS, version_of
from edgewright.export.tflite.micro_kernels import BYTES, lacks, narrowed, narrowed_options, without_bias_scales
from edgewright.export.tflite.sharing import overwritten
from edgewright.export.tflite.tensor import Quantization, Tensor

HALF_FROM_ELEMENTS = 64
"""Smaller constants stay float32: the DEQUANTIZE that a float16 one needs is longer than the bytes it saves (measured
on MobileNetV2 and EfficientNet-Lite0). So do those of rank 1, biases: few bytes, and rounding them costs 1 to 2 dB."""


@dataclass(frozen=True, eq=False)
class Op:
    """An operator by its name in the schema; `options` are fields of its options table, Subgraphs those it calls."""

    code: str
    version: int
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    options: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Subgraph:
    """Operators with inputs and outputs of their own: the main graph, or what an IF or WHILE calls."""

    name: str
    ops: tuple[Op, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def called(self) -> Iterator["Subgraph"]:
        """This subgraph and all that it calls, each before those that it calls in turn."""
        yield self
        for op in self.ops:
            for option in op.options.values():
                if isinstance(option, Subgraph):
                    yield from option.called()

    def all_ops(self) -> tuple[Op, ...]:
        """Its operators, and those of all that it calls."""
        return tuple(op for subgraph in self.called() for op in subgraph.ops)


class Builder:
    """Collects operators. With `half`, float32 constants become FLOAT16 plus a DEQUANTIZE.

    int8 weights of a float operator get a DEQUANTIZE; with `dynamic` they stay where a kernel multiplies integers, with
    `dynamic_inside` in subgraphs.
    Consecutive RESHAPEs and TRANSPOSEs are composed as they are made; what this leaves unused is dropped by `live`.
    `micro`: for tflite-micro, with its kernels only, and int64 as int32.
    """

    def __init__(
        self, *, half: bool = False, dynamic: bool = False, dynamic_inside: bool = False, micro: bool = False
    ) -> None:
        self.ops: list[Op] = []
        self.too_large_for_half: list[str] = []
        self.dynamic = dynamic
        self.micro = micro
        self._half = half
        self._dynamic_inside = dynamic or dynamic_inside
        self._decoded: dict[bytes, Tensor] = {}
        self._producer: dict[Tensor, Op] = {}

    def tensor(self, name: str, shape: Sequence[int], dtype: Any, quantization: Quantization | None = None) -> Tensor:
        """A new tensor that an operator will fill."""
        kind = np.dtype(np.int32 if self.micro and dtype == np.int64 else dtype)
        if self.micro and kind == np.uint8:
            quantization = quantization or BYTES
        return Tensor(name, tuple(int(n) for n in shape), kind, None, quantization)

    def constant(self, array: NDArray[Any], name: str, quantization: Quantization | None = None) -> Tensor:
        held = narrowed(array) if self.micro else array
        return Tensor(name, held.shape, held.dtype, held, quantization)

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
        if code == "FULLY_CONNECTED" and options is not None and not options["keepNumDims"] and given[0] is not None:
            given = (self._before_reshapes(given[0]), *given[1:])  # it reads any shape as rows
        given = without_bias_scales(code, given) if self.micro else given
        _check_scales(code, given, outputs)
        chosen = narrowed_options(options or {}) if self.micro else options or {}
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
        source = self._before_reshapes(tensor)
        wanted = tuple(int(n) for n in shape)
        if to is None:
            if tensor.data is not None and (tensor.quantization is None or tensor.quantization.scale.size == 1):
                return self.constant(tensor.data.reshape(wanted), tensor.name, tensor.quantization)
            for known in (tensor, source):
                if known.shape == wanted:
                    return known
            to = self._like(tensor, wanted, "reshaped")
        self.emit("RESHAPE", [source, self.constant(np.array(wanted, np.int32), f"{to.name}/shape")], [to])
        return to

    def _before_reshapes(self, tensor: Tensor) -> Tensor:
        while (op := self._producer.get(tensor)) is not None and op.code == "RESHAPE" and op.inputs[0] is not None:
            tensor = op.inputs[0]
        return tensor

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

    def copy(self, tensor: Tensor, name: str) -> Tensor:
        """The same values in a tensor of its own. A constant is cut out of itself: LiteRT lets the result of a RESHAPE
        share its memory, and frees it twice where that is what a subgraph gives."""
        made = self.tensor(name, tensor.shape, tensor.dtype, tensor.quantization)
        if tensor.data is None:
            return self.reshape(tensor, tensor.shape, made)
        return self._cut_out(self.constant(tensor.data.reshape(-1), f"{tensor.name}/flat", tensor.quantization), made)

    def _cut_out(self, flat: Tensor, made: Tensor) -> Tensor:
        """Fill `made` by a SLICE with all of `flat`, which has one axis: memory of its own in every runtime."""
        begin, size = (self.constant(np.array([n], np.int32), f"{made.name}/{n}") for n in (0, flat.shape[0]))
        cut = (
            made if len(made.shape) == 1 else self.tensor(f"{made.name}/cut", flat.shape, made.dtype, made.quantization)
        )
        self.emit("SLICE", [flat, begin, size], [cut])
        return made if cut is made else self.reshape(cut, made.shape, made)

    def inner(self) -> "Builder":
        """A builder for a subgraph, of the same kind."""
        made = Builder(half=self._half, dynamic=self._dynamic_inside, micro=self.micro)
        made.too_large_for_half = self.too_large_for_half
        return made

    def lacks(self, code: str, inputs: Sequence[Tensor | None]) -> str | None:
        """Why the runtime that the file is for cannot run an operator; None where nothing is known against it."""
        return lacks(code, inputs) if self.micro else None

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
        kept.reverse()
        doomed = set() if self.micro else overwritten(kept, outputs)
        return [part for op in kept for part in (self._copied(op) if op in doomed else (op,))]

    def _copied(self, reshape: Op) -> Sequence[Op]:
        """A RESHAPE that does not share the memory of its operand."""
        [made], source, writer = reshape.outputs, reshape.inputs[0], self.inner()
        assert source is not None
        writer._cut_out(
            writer.reshape(source, (prod(source.shape),), self._like(source, (prod(source.shape),), "flat")), made
        )
        return writer.ops

    def _like(self, tensor: Tensor, shape: tuple[int, ...], suffix: str) -> Tensor:
        return self.tensor(f"{tensor.name}/{suffix}", shape, tensor.dtype, tensor.quantization)

    def _halve(self, tensor: Tensor | None) -> Tensor | None:
        if not self._half or tensor is None or tensor.data is None or tensor.dtype != np.float32:
            return tensor
        if tensor.data.ndim < 2 or tensor.data.size < HALF_FROM_ELEMENTS:
            return tensor
        key = _content(tensor)
        if key not in self._decoded:
            self._decoded[key] = self._as_half(tensor, tensor.data)
        return self._decoded[key]

    def _decode(self, tensor: Tensor | None) -> Tensor | None:
        """The float32 tensor that a DEQUANTIZE makes of int8 weights; any other operand as it is."""
        if tensor is None or tensor.data is None or not tensor.is_int8 or tensor.quantization is None:
            return tensor
        key = _content(tensor)
        if key not in self._decoded:
            by_channel = self.micro and tensor.quantization.scale.size > 1
            self._decoded[key] = (self._decoded_by_channel if by_channel else self._dequantized)(tensor)
        return self._decoded[key]

    def _dequantized(self, codes: Tensor) -> Tensor:
        real = Tensor(f"{codes.name}/dequantized", codes.shape, np.dtype(np.float32))
        self.ops.append(Op("DEQUANTIZE", version_of("DEQUANTIZE", [codes], real, {}), (codes,), (real,), {}))
        return real

    def _decoded_by_channel(self, codes: Tensor) -> Tensor:
        """DEQUANTIZE in tflite-micro takes the first scale for all: there the codes become floats, and those are
        multiplied."""
        grid = codes.quantization
        assert grid is not None
        if grid.zero_point.any():
            raise Error(f"{codes.name}: zero points by channel of weights of a float operator; store them symmetric")
        along = [1] * len(codes.shape)
        along[grid.axis] = grid.scale.size
        whole = self._dequantized(replace(codes, quantization=BYTES))
        scales = self.constant(grid.scale.reshape(along), f"{codes.name}/scales")
        real = self.tensor(f"{codes.name}/decoded", codes.shape, np.float32)
        self.emit("MUL", [whole, scales], [real], {"fusedActivationFunction": "NONE"})
        return real

    def _as_half(self, tensor: Tensor, data: NDArray[Any]) -> Tensor:
        if np.abs(data).max() > np.finfo(np.float16).max:
            self.too_large_for_half.append(tensor.name)
            return tensor
        half = self.constant(data.astype(np.float16), f"{tensor.name}/float16")
        full = Tensor(tensor.name, tensor.shape, tensor.dtype)
        self.ops.append(Op("DEQUANTIZE", version_of("DEQUANTIZE", [half], full, {}), (half,), (full,), {}))
        return full


def _content(constant: Tensor) -> bytes:
    """Equal constants are decoded once: unrolled steps of a loop multiply with the same weights."""
    assert constant.data is not None
    scale = constant.quantization
    told = (constant.shape, constant.dtype.str, *(() if scale is None else (scale.axis, scale.scale.tobytes())))
    return hashlib.blake2b(np.ascontiguousarray(constant.data).data).digest() + repr(told).encode()


def _check_scales(code: str, inputs: Sequence[Tensor | None], outputs: Sequence[Tensor]) -> None:
    kernel = KERNELS[code]
    for output in outputs:
        if not output.is_int8:
            continue
        moved = kernel.equal_scales and all(source is None or source.quantization is None for source in inputs)
        if output.quantization is None and (moved or code == "CAST"):
            continue  # bytes that are no codes
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
