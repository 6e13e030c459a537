"""Operators → the bytes of a .tflite file: all inline, weights on 16-byte boundaries, equal bytes stored once."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgewright.errors import BadModel
from edgewright.export.tflite.builder import Op
from edgewright.export.tflite.kernels import KERNELS, first_runtime
from edgewright.export.tflite.tensor import Quantization, Tensor

if TYPE_CHECKING:
    import flatbuffers  # type: ignore[import-untyped]

SCHEMA_VERSION = 3
LIMIT_BYTES = 2**31 - 2**20  # offsets are 32 bits signed, and the graph needs room too
ALIGNMENT = 16  # `force_align: 16` of Buffer.data in the schema, which the generated Python code ignores
RUNTIME_VERSION_BYTES = 16  # a fixed field: TFLite's tools rewrite it in place
SIGNATURE = "serving_default"


def serialize(
    ops: Sequence[Op],
    inputs: Mapping[str, Tensor],
    outputs: Mapping[str, Tensor],
    metadata: Mapping[str, bytes],
) -> bytes:
    """A model of one subgraph. `inputs` and `outputs` map the user's names, which also become the signature's."""
    from ai_edge_litert import schema_py_generated as schema  # type: ignore[import-untyped]

    buffers = _Buffers()
    tensors = _tensors_in_order(ops, [*inputs.values(), *outputs.values()])
    index = {tensor: number for number, tensor in enumerate(tensors)}
    codes = sorted({(op.code, op.version) for op in ops})

    graph = schema.SubGraphT()
    graph.name = "main"
    names = _names(tensors, {tensor: name for name, tensor in (*inputs.items(), *outputs.items())})
    graph.tensors = [_tensor(tensor, name, buffers) for tensor, name in zip(tensors, names)]
    graph.operators = [_operator(op, index, codes) for op in ops]
    graph.inputs = [index[tensor] for tensor in inputs.values()]
    graph.outputs = [index[tensor] for tensor in outputs.values()]

    runtime = min_runtime_version(ops).encode().ljust(RUNTIME_VERSION_BYTES, b"\0")
    model = schema.ModelT()
    model.version = SCHEMA_VERSION
    model.description = "edgewright"
    model.operatorCodes = [_code(code, version) for code, version in codes]
    model.subgraphs = [graph]
    model.metadata = [
        _metadata(name, buffers.add(np.frombuffer(content, np.uint8), shared=False))
        for name, content in sorted({"min_runtime_version": runtime, **metadata}.items())
    ]
    model.signatureDefs = [_signature(inputs, outputs, index)]
    model.buffers = buffers.packed()

    if buffers.size_bytes > LIMIT_BYTES:
        raise BadModel(f"{buffers.size_bytes / 2**30:.1f} GiB of weights; a .tflite file holds at most 2 GiB")
    packed = _sharing_builder(buffers.size_bytes + 512 * (len(tensors) + len(ops)) + 4096)
    packed.Finish(model.Pack(packed), b"TFL3")
    return bytes(packed.Output())


def _sharing_builder(size_bytes: int) -> "flatbuffers.Builder":
    """A flatbuffer builder that writes equal numeric vectors (shapes, scales, zero points) once."""
    import flatbuffers

    class SharingBuilder(flatbuffers.Builder):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(size_bytes)
            self._written: dict[tuple[str, bytes], int] = {}

        def CreateNumpyVector(self, x: NDArray[Any]) -> int:  # noqa: N802
            key = (x.dtype.str, x.tobytes())
            if key not in self._written:
                self._written[key] = super().CreateNumpyVector(x)
            return self._written[key]

    return SharingBuilder()


def min_runtime_version(ops: Sequence[Op]) -> str:
    """The first TensorFlow release whose TFLite runtime knows every operator in its version."""
    versions = [first_runtime(op.code, op.version) for op in ops]
    return max(versions, key=lambda text: tuple(map(int, text.split("."))), default="1.5.0")


def _tensors_in_order(ops: Sequence[Op], ends: Sequence[Tensor]) -> list[Tensor]:
    ordered = dict.fromkeys(ends)
    for op in ops:
        ordered.update(dict.fromkeys(tensor for tensor in (*op.inputs, *op.outputs) if tensor is not None))
    return list(ordered)


def _names(tensors: Sequence[Tensor], ends: Mapping[Tensor, str]) -> list[str]:
    """One name each: inputs and outputs have the user's, a taken one gets a number."""
    taken: dict[str, int] = dict.fromkeys(ends.values(), 1)
    names: list[str] = []
    for tensor in tensors:
        name = ends.get(tensor, tensor.name)
        while tensor not in ends and name in taken:
            taken[tensor.name] += 1
            name = f"{tensor.name}.{taken[tensor.name] - 1}"
        taken.setdefault(name, 1)
        names.append(name)
    return names


class _Buffers:
    """The buffer table; number 0 is the empty one that tensors without data name."""

    def __init__(self) -> None:
        self._contents: list[NDArray[np.uint8] | None] = [None]
        self._known: dict[bytes, int] = {}
        self.size_bytes = 0

    def add(self, array: NDArray[Any], *, shared: bool = True) -> int:
        content = array.tobytes()
        if shared and content in self._known:
            return self._known[content]
        self._contents.append(np.frombuffer(content, np.uint8))
        self.size_bytes += len(content) + 2 * ALIGNMENT
        number = len(self._contents) - 1
        if shared:
            self._known[content] = number
        return number

    def packed(self) -> list["_PackedBuffer"]:
        return [_PackedBuffer(content) for content in self._contents]


class _PackedBuffer:
    """Stands in for the schema's BufferT, whose Pack does not align."""

    def __init__(self, content: NDArray[np.uint8] | None) -> None:
        self._content = content

    def Pack(self, builder: "flatbuffers.Builder") -> int:  # noqa: N802
        from ai_edge_litert import schema_py_generated as schema

        vector = None
        if self._content is not None:
            length = self._content.size
            builder.StartVector(1, length, ALIGNMENT)
            start = builder.Head() - length
            builder.head = start
            builder.Bytes[start : start + length] = self._content.tobytes()
            vector = builder.EndVector()
        schema.BufferStart(builder)
        if vector is not None:
            schema.BufferAddData(builder, vector)
        return int(schema.BufferEnd(builder))


def _tensor(tensor: Tensor, name: str, buffers: _Buffers) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    packed = schema.TensorT()
    packed.name = name
    packed.shape = np.array(tensor.shape, np.int32)
    packed.hasRank = True
    packed.type = getattr(schema.TensorType, tensor.dtype.name.upper())
    packed.buffer = 0 if tensor.data is None else buffers.add(np.ascontiguousarray(tensor.data))
    packed.quantization = None if tensor.quantization is None else _quantization(tensor.quantization)
    return packed


def _quantization(quantization: Quantization) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    packed = schema.QuantizationParametersT()
    packed.scale = quantization.scale.astype(np.float32)
    packed.zeroPoint = quantization.zero_point.astype(np.int64)
    packed.quantizedDimension = quantization.axis
    return packed


def _operator(op: Op, index: Mapping[Tensor, int], codes: Sequence[tuple[str, int]]) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    packed = schema.OperatorT()
    packed.opcodeIndex = codes.index((op.code, op.version))
    packed.inputs = np.array([-1 if tensor is None else index[tensor] for tensor in op.inputs], np.int32)
    packed.outputs = np.array([index[tensor] for tensor in op.outputs], np.int32)
    kind = KERNELS[op.code].options
    if kind is not None:
        packed.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
        packed.builtinOptions = getattr(schema, f"{kind}T")()
        for field, value in op.options.items():
            if not hasattr(packed.builtinOptions, field):
                raise AttributeError(f"{kind} has no field {field}")
            setattr(packed.builtinOptions, field, _enum(field, value))
    return packed


def _enum(field: str, value: Any) -> Any:
    """Padding, activations and modes are written by name."""
    from ai_edge_litert import schema_py_generated as schema

    enums = {
        "padding": schema.Padding,
        "fusedActivationFunction": schema.ActivationFunctionType,
        "mode": schema.MirrorPadMode,
        "inDataType": schema.TensorType,
        "outDataType": schema.TensorType,
    }
    return getattr(enums[field], value) if field in enums else value


def _code(code: str, version: int) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    packed = schema.OperatorCodeT()
    packed.builtinCode = getattr(schema.BuiltinOperator, code)
    # Old readers know only this one-byte field, and take the larger of the two.
    packed.deprecatedBuiltinCode = min(packed.builtinCode, schema.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES)
    packed.version = version
    return packed


def _metadata(name: str, buffer: int) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    packed = schema.MetadataT()
    packed.name, packed.buffer = name, buffer
    return packed


def _signature(inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor], index: Mapping[Tensor, int]) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    def entry(name: str, tensor: Tensor) -> Any:
        packed = schema.TensorMapT()
        packed.name, packed.tensorIndex = name, index[tensor]
        return packed

    packed = schema.SignatureDefT()
    packed.signatureKey = SIGNATURE
    packed.inputs = [entry(name, tensor) for name, tensor in inputs.items()]
    packed.outputs = [entry(name, tensor) for name, tensor in outputs.items()]
    return packed
