"""Subgraphs → the bytes of a .tflite file: all inline, weights on 16-byte boundaries, equal bytes stored once."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgewright.errors import BadModel
from edgewright.export.tflite.builder import Op, Subgraph
from edgewright.export.tflite.kernels import KERNELS, first_runtime
from edgewright.export.tflite.tensor import Quantization, Tensor

if TYPE_CHECKING:
    import flatbuffers  # type: ignore[import-untyped]

SCHEMA_VERSION = 3
LIMIT_BYTES = 2**31 - 2**20  # offsets are 32 bits signed, and the graph needs room too
ALIGNMENT = 16  # `force_align: 16` of Buffer.data in the schema, which the generated Python code ignores
RUNTIME_VERSION_BYTES = 16  # a fixed field: TFLite's tools rewrite it in place
HEAD_BYTES = 64  # buffers that begin alike are compared to the end
SIGNATURE = "serving_default"
SHARED_BYTES = 2**18


def serialize(
    main: Subgraph,
    inputs: Sequence[str],
    outputs: Sequence[str],
    metadata: Mapping[str, bytes],
    *,
    lean: bool = False,
) -> bytes:
    """The file of `main` and all that it calls. `inputs` and `outputs` are the user's names for the ends of `main`,
    which also become the signature's. `lean`: without what no interpreter of a microcontroller reads: signature, names
    of inner tensors, the oldest runtime."""
    from ai_edge_litert import schema_py_generated as schema  # type: ignore[import-untyped]

    buffers = _Buffers()
    subgraphs = {subgraph: number for number, subgraph in enumerate(main.called())}
    ops = main.all_ops()
    codes = sorted({(op.code, op.version) for op in ops})
    ends = dict(zip((*main.inputs, *main.outputs), (*inputs, *outputs), strict=True))

    runtime = min_runtime_version(ops).encode().ljust(RUNTIME_VERSION_BYTES, b"\0")
    model = schema.ModelT()
    model.version = SCHEMA_VERSION
    model.description = "edgewright"
    model.operatorCodes = [_code(code, version) for code, version in codes]
    model.subgraphs = [_subgraph(one, ends if one is main else {}, codes, subgraphs, buffers) for one in subgraphs]
    model.metadata = [
        _metadata(name, buffers.add(np.frombuffer(content, np.uint8), shared=False))
        for name, content in sorted({**({} if lean else {"min_runtime_version": runtime}), **metadata}.items())
    ]
    if lean:
        _drop_names(model.subgraphs, ends.values())
    model.signatureDefs = [] if lean else [_signature(main, inputs, outputs)]
    model.buffers = buffers.packed()

    check_size(buffers.size_bytes)
    tensors = sum(len(subgraph.tensors) for subgraph in model.subgraphs)
    packed = _sharing_builder(buffers.size_bytes + 512 * (tensors + len(ops)) + 4096)
    packed.Finish(model.Pack(packed), b"TFL3")
    return bytes(memoryview(packed.Bytes)[packed.Head() :])


def constant_bytes(ops: Sequence[Op]) -> int:
    """Of all constants that the operators read, equal ones counted once, as they are stored."""
    buffers = _Buffers()
    for op in ops:
        for tensor in op.inputs:
            if tensor is not None and tensor.data is not None:
                buffers.add(tensor.data)
    return buffers.content_bytes


def check_size(weight_bytes: int) -> None:
    """Raises BadModel, with advice, for weights that no .tflite file holds."""
    if weight_bytes > LIMIT_BYTES:
        raise BadModel(
            f"{weight_bytes / 2**30:.1f} GiB of weights; a .tflite file holds at most 2 GiB. Quantize them "
            "(--precision float16 halves float32, int8 and int8-weights quarter it), compress the model, or split it."
        )


def _drop_names(subgraphs: Sequence[Any], kept: Collection[str]) -> None:
    for tensor in (tensor for subgraph in subgraphs for tensor in subgraph.tensors):
        tensor.name = tensor.name if tensor.name in kept else None


def _subgraph(
    one: Subgraph,
    ends: Mapping[Tensor, str],
    codes: Sequence[tuple[str, int]],
    subgraphs: Mapping[Subgraph, int],
    buffers: "_Buffers",
) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    index = _positions(one)
    packed = schema.SubGraphT()
    packed.name = one.name
    first = {place: tensor for tensor, place in reversed(index.items())}
    tensors = [first[place] for place in sorted(first)]
    packed.tensors = [_tensor(tensor, name, buffers) for tensor, name in zip(tensors, _names(tensors, ends))]
    packed.operators = [_operator(op, index, codes, subgraphs) for op in one.ops]
    packed.inputs = [index[tensor] for tensor in one.inputs]
    packed.outputs = [index[tensor] for tensor in one.outputs]
    return packed


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


def _positions(one: Subgraph) -> dict[Tensor, int]:
    """The place of each tensor of a subgraph: its ends first, then in the order of the operators. Equal small constants
    share one: the steps of an unrolled loop, say."""
    ends = dict.fromkeys((*one.inputs, *one.outputs))
    ordered = dict(ends)
    for op in one.ops:
        ordered.update(dict.fromkeys(tensor for tensor in (*op.inputs, *op.outputs) if tensor is not None))
    places: dict[object, int] = {}
    return {
        tensor: places.setdefault(tensor if tensor in ends else _content(tensor), len(places)) for tensor in ordered
    }


def _content(tensor: Tensor) -> object:
    """What makes two constants equal; the tensor itself where it is computed or large."""
    if tensor.data is None or tensor.data.nbytes > SHARED_BYTES:
        return tensor
    grid = tensor.quantization
    scales = None if grid is None else (grid.scale.tobytes(), grid.zero_point.tobytes(), grid.axis)
    return tensor.shape, tensor.dtype, tensor.data.tobytes(), scales


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
        self._contents: list[NDArray[Any] | None] = [None]
        self._alike: dict[tuple[int, bytes], list[int]] = defaultdict(list)
        self.content_bytes = 0

    def add(self, array: NDArray[Any], *, shared: bool = True) -> int:
        alike = self._alike[array.nbytes, array.flat[: HEAD_BYTES // array.itemsize].tobytes()] if shared else []
        for number in alike:
            known = self._contents[number]
            if known is array or (known is not None and known.tobytes() == array.tobytes()):
                return number
        alike.append(len(self._contents))
        self._contents.append(array)
        self.content_bytes += array.nbytes
        return alike[-1]

    @property
    def size_bytes(self) -> int:
        """At most, with what aligns them."""
        return self.content_bytes + 2 * ALIGNMENT * len(self._contents)

    def packed(self) -> list["_PackedBuffer"]:
        return [_PackedBuffer(content) for content in self._contents]


class _PackedBuffer:
    """Stands in for the schema's BufferT, whose Pack does not align."""

    def __init__(self, content: NDArray[Any] | None) -> None:
        self._content = content

    def Pack(self, builder: "flatbuffers.Builder") -> int:  # noqa: N802
        from ai_edge_litert import schema_py_generated as schema

        vector = None
        if self._content is not None:
            builder.StartVector(1, self._content.nbytes, ALIGNMENT)
            builder.head = builder.Head() - self._content.nbytes
            place: NDArray[Any] = np.ndarray(self._content.shape, self._content.dtype, builder.Bytes, builder.head)
            place[...] = self._content  # a transposed view is laid out here, without a copy between
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
    if tensor.open_axes:
        lengths = [-1 if axis in tensor.open_axes else length for axis, length in enumerate(tensor.shape)]
        packed.shapeSignature = np.array(lengths, np.int32)
    packed.hasRank = True
    packed.type = getattr(schema.TensorType, tensor.dtype.name.upper())
    packed.buffer = 0 if tensor.data is None else buffers.add(tensor.data)
    packed.quantization = None if tensor.quantization is None else _quantization(tensor.quantization)
    return packed


def _quantization(quantization: Quantization) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    packed = schema.QuantizationParametersT()
    packed.scale = quantization.scale.astype(np.float32)
    packed.zeroPoint = quantization.zero_point.astype(np.int64)
    packed.quantizedDimension = quantization.axis
    return packed


def _operator(
    op: Op, index: Mapping[Tensor, int], codes: Sequence[tuple[str, int]], subgraphs: Mapping[Subgraph, int]
) -> Any:
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
            number = subgraphs[value] if isinstance(value, Subgraph) else _enum(field, value)
            setattr(packed.builtinOptions, field, number)
    return packed


def _enum(field: str, value: Any) -> Any:
    """Padding, activations and element types are written by name."""
    from ai_edge_litert import schema_py_generated as schema

    enums = {
        "padding": schema.Padding,
        "fusedActivationFunction": schema.ActivationFunctionType,
        "inDataType": schema.TensorType,
        "outDataType": schema.TensorType,
        "outputType": schema.TensorType,
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


def _signature(main: Subgraph, inputs: Sequence[str], outputs: Sequence[str]) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    index = _positions(main)

    def entry(name: str, tensor: Tensor) -> Any:
        packed = schema.TensorMapT()
        packed.name, packed.tensorIndex = name, index[tensor]
        return packed

    packed = schema.SignatureDefT()
    packed.signatureKey = SIGNATURE
    packed.inputs = [entry(name, tensor) for name, tensor in zip(inputs, main.inputs, strict=True)]
    packed.outputs = [entry(name, tensor) for name, tensor in zip(outputs, main.outputs, strict=True)]
    return packed
