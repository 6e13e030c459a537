"""The weights of an ONNX file, read and written past protobuf, which would hold each of them three times.

A protobuf message is a row of fields: a key (number × 8 + kind) and, for what is a weight here, a length and bytes.
What is written is byte for byte what protobuf would write.
"""

from collections.abc import Iterator, Mapping
from math import prod
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

SMALL_BYTES = 1024
"""Smaller tensors stay with the graph: shapes, axes, scales."""

MODEL_GRAPH, GRAPH_INITIALIZER, TENSOR_RAW_DATA = 7, 5, 9
VARINT, EIGHT_BYTES, BYTES, FOUR_BYTES = 0, 1, 2, 5


class Field(NamedTuple):
    """Where a field begins, where its content does, and where it ends."""

    number: int
    begin: int
    content: int
    end: int


def split_model(content: bytes) -> "tuple[bytes, dict[str, ir.TensorProtocol]]":
    """A model without the large initializers of its main graph, and these by name, as views of `content`.

    Raises ValueError where `content` is no message.
    """
    weights: dict[str, ir.TensorProtocol] = {}
    parts: list[bytes] = []
    for field in _fields(content, 0, len(content)):
        if field.number == MODEL_GRAPH:
            graph = b"".join(_graph_parts(content, field, weights))
            parts += [_head(MODEL_GRAPH, len(graph)), graph]
        else:
            parts.append(content[field.begin : field.end])
    return b"".join(parts), weights


def _graph_parts(content: bytes, graph: Field, weights: "dict[str, ir.TensorProtocol]") -> Iterator[bytes]:
    for field in _fields(content, graph.content, graph.end):
        small = field.end - field.content <= SMALL_BYTES
        shell = None if field.number != GRAPH_INITIALIZER or small else _split_tensor(content, field, weights)
        if shell is None:
            yield content[field.begin : field.end]
        else:
            yield _head(GRAPH_INITIALIZER, len(shell)) + shell


def _split_tensor(content: bytes, tensor: Field, weights: "dict[str, ir.TensorProtocol]") -> bytes | None:
    """The tensor without its bytes, which go to `weights`; None where they are elsewhere, or no whole numbers of bytes
    a value."""
    import onnx
    import onnx_ir as ir

    fields = list(_fields(content, tensor.content, tensor.end))
    raw = [field for field in fields if field.number == TENSOR_RAW_DATA]
    if len(raw) != 1 or raw[0].end - raw[0].content <= SMALL_BYTES:
        return None
    shell = b"".join(content[field.begin : field.end] for field in fields if field is not raw[0])
    proto = onnx.TensorProto.FromString(shell)
    kind, length = ir.DataType(proto.data_type), raw[0].end - raw[0].content
    if not proto.name or proto.name in weights or kind.is_string() or kind.numpy().itemsize * 8 != kind.bitwidth:
        return None
    if length != prod(proto.dims) * kind.numpy().itemsize:
        raise ValueError(f"initializer {proto.name}: {length} bytes for {kind.name} {list(proto.dims)}")
    count = length // kind.numpy().itemsize
    array = np.frombuffer(content, kind.numpy(), count, raw[0].content).reshape(tuple(proto.dims))
    weights[proto.name] = ir.Tensor(array, dtype=kind, name=proto.name)
    return shell


def write_model(model: "onnx.ModelProto", weights: "Mapping[str, ir.TensorProtocol]", file: BinaryIO) -> None:
    """Write `model`, with `weights` in the place of the initializers of these names, whose bytes it lacks."""
    graph, tensors = model.graph, list(model.graph.initializer)
    heads = [tensor.SerializeToString(deterministic=True) for tensor in tensors]
    for number, tensor in enumerate(tensors):
        if tensor.name in weights:
            heads[number] += _head(TENSOR_RAW_DATA, weights[tensor.name].nbytes)
    lengths = [len(h) + (weights[t.name].nbytes if t.name in weights else 0) for h, t in zip(heads, tensors)]
    names = [tensor.name for tensor in tensors]
    del graph.initializer[:]
    before, after = _around(graph.SerializeToString(deterministic=True), GRAPH_INITIALIZER)
    model.ClearField("graph")
    start, end = _around(model.SerializeToString(deterministic=True), MODEL_GRAPH)
    framed = sum(len(_head(GRAPH_INITIALIZER, length)) + length for length in lengths)
    file.write(start + _head(MODEL_GRAPH, len(before) + framed + len(after)) + before)
    for name, head, length in zip(names, heads, lengths, strict=True):
        file.write(_head(GRAPH_INITIALIZER, length) + head)
        if name in weights:
            file.write(weights[name].tobytes())
    file.write(after + end)


def _around(message: bytes, number: int) -> tuple[bytes, bytes]:
    """The fields of lower numbers, which protobuf writes first, and the others."""
    place = next((field.begin for field in _fields(message, 0, len(message)) if field.number > number), len(message))
    return message[:place], message[place:]


def _fields(content: bytes, begin: int, end: int) -> Iterator[Field]:
    while begin < end:
        key, start = _read_varint(content, begin)
        kind = key & 7
        if kind == BYTES:
            length, start = _read_varint(content, start)
            stop = start + length
        elif kind == VARINT:
            stop = _read_varint(content, start)[1]
        elif kind in (EIGHT_BYTES, FOUR_BYTES):
            stop = start + (8 if kind == EIGHT_BYTES else 4)
        else:
            raise ValueError(f"no field at byte {begin}")
        if stop > end:
            raise ValueError(f"the field at byte {begin} ends behind its message")
        yield Field(key >> 3, begin, start, stop)
        begin = stop


def _read_varint(content: bytes, begin: int) -> tuple[int, int]:
    """Seven bits a byte, the lowest first, the eighth says whether there are more; and where it ends."""
    number = 0
    for place, byte in enumerate(content[begin : begin + 10]):
        number |= (byte & 127) << 7 * place
        if byte < 128:
            return number, begin + place + 1
    raise ValueError(f"no number at byte {begin}")


def _head(number: int, length: int) -> bytes:
    """What stands before a content of so many bytes."""
    return _varint(number << 3 | BYTES) + _varint(length)


def _varint(number: int) -> bytes:
    made = bytearray()
    while number > 127:
        made.append(number & 127 | 128)
        number >>= 7
    return bytes([*made, number])
