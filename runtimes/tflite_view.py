"""What a TFLite file holds, verified, without any TFLite package: the runtimes' guard and the reader's source.

Native interpreters do not verify a file and can die on a corrupt one, so every runtime opens it here first.
Field numbers follow tensorflow/lite/schema/schema.fbs (file identifier TFL3, version 3).
"""

from collections.abc import Mapping, Sized
from dataclasses import dataclass
from pathlib import Path

from edgewright.errors import BadModel
from edgewright.runtimes.contract import CONTRACT_KEY, Contract, TensorInfo
from edgewright.runtimes.dtypes import bits, dense_bytes
from edgewright.runtimes.flat_table import Corrupt, Table, read_at

CALLING = (118, 119)  # IF and WHILE in BuiltinOperator; their options begin with two subgraphs

DTYPES = (  # by the schema's TensorType
    *("float32", "float16", "int32", "uint8", "int64", "string", "bool", "int16", "complex64", "int8", "float64"),
    *("complex128", "uint64", "resource", "variant", "uint32", "uint16", "int4", "bfloat16", "int2", "uint4"),
    *("float8_e4m3fn", "float8_e5m2"),
)


@dataclass(frozen=True)
class TfliteTensor:
    """`shape` has None where the length is not fixed; `stored_bytes` is 0 for what the model computes.

    `number`: the value of a stored int32 scalar.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    stored_bytes: int
    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    quantized_dimension: int
    variable: bool
    sparse: bool
    number: int | None


@dataclass(frozen=True)
class TfliteOperator:
    """`code` is the schema's BuiltinOperator; an input of -1 is absent. `calls`: the subgraphs of an IF or WHILE."""

    code: int
    custom: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    calls: tuple[int, ...]


@dataclass(frozen=True)
class TfliteGraph:
    tensors: tuple[TfliteTensor, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    operators: tuple[TfliteOperator, ...]


@dataclass(frozen=True)
class TfliteView:
    """`inputs` and `outputs` map the user's names (signature, else tensor names) to tensors of the main graph."""

    graphs: tuple[TfliteGraph, ...]
    metadata: Mapping[str, bytes]
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]

    @property
    def main(self) -> TfliteGraph:
        return self.graphs[0]

    @property
    def contract(self) -> Contract:
        """The stored contract, else one derived from the file: integers stay integers, their scale on record."""
        if CONTRACT_KEY in self.metadata:
            return Contract.from_json(self.metadata[CONTRACT_KEY].decode())
        return Contract(self._infos(self.inputs), self._infos(self.outputs))

    def _infos(self, names: Mapping[str, int]) -> tuple[TensorInfo, ...]:
        return tuple(_info(name, self.main.tensors[index]) for name, index in names.items())


def open_tflite(path: Path) -> TfliteView:
    """Raises BadModel, saying what is damaged, when any table, index or buffer does not fit."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadModel(f"{path}: not readable ({error})") from None
    try:
        return _view(memoryview(data))
    except Corrupt as error:
        raise BadModel(f"{path}: damaged TFLite file: {error}") from None


def _view(data: memoryview) -> TfliteView:
    if len(data) < 8 or bytes(data[4:8]) != b"TFL3":
        raise Corrupt("it does not begin with the identifier TFL3")
    model = Table(data, read_at(data, "I", 0))
    if model.number(0, "I") != 3:
        raise Corrupt(f"schema version {model.number(0, 'I')}, wanted 3")
    buffers = [_content(buffer) for buffer in model.tables(4)]
    codes = [
        (max(code.number(3, "i"), code.number(0, "b")), code.text(1), code.number(2, "i", 1))
        for code in model.tables(1)
    ]
    graphs = tuple(_graph(graph, buffers, codes, len(model.tables(2))) for graph in model.tables(2))
    if not graphs:
        raise Corrupt("it holds no graph")
    metadata = {
        entry.text(0): bytes(buffers[_index(entry.number(1, "I"), buffers, "metadata")]) for entry in model.tables(6)
    }
    inputs, outputs = _names(model, graphs[0])
    return TfliteView(graphs, metadata, inputs, outputs)


def _content(buffer: Table) -> memoryview:
    """Inline bytes, or those that lie behind the tables in files over 2 GB."""
    offset, size = buffer.number(1, "Q"), buffer.number(2, "Q")
    if offset <= 1:
        return buffer.content(0)
    if offset + size > len(buffer.data):
        raise Corrupt(f"a buffer ends at {offset + size}, the file at {len(buffer.data)}")
    return buffer.data[offset : offset + size]


def _graph(graph: Table, buffers: list[memoryview], codes: list[tuple[int, str, int]], graphs: int) -> TfliteGraph:
    tensors = tuple(_tensor(tensor, buffers) for tensor in graph.tables(0))
    return TfliteGraph(
        tensors,
        _indices(graph, 1, tensors, optional=False),
        _indices(graph, 2, tensors, optional=False),
        tuple(_operator(operator, tensors, codes, graphs) for operator in graph.tables(3)),
    )


def _tensor(tensor: Table, buffers: list[memoryview]) -> TfliteTensor:
    name = tensor.text(3)
    kind = tensor.number(1, "b")
    if kind not in range(len(DTYPES)):
        raise Corrupt(f"tensor {name!r} has unknown type {kind}")
    fixed, signature = tensor.numbers(0, "i4").tolist(), tensor.numbers(7, "i4").tolist()
    if any(length < 0 for length in fixed):
        raise Corrupt(f"tensor {name!r} has shape {fixed}")
    shape = tuple(None if length < 0 else length for length in (signature or fixed))
    content = buffers[_index(tensor.number(2, "I"), buffers, f"tensor {name!r}")]
    sparse = tensor.table(6) is not None
    needed = dense_bytes(fixed, DTYPES[kind])
    if len(content) and not sparse and bits(DTYPES[kind]) and len(content) != needed:
        raise Corrupt(f"tensor {name!r} holds {len(content)} bytes, its shape {fixed} needs {needed}")
    scale, zero_point, dimension = _quantization(tensor.table(4), fixed, name)
    variable = bool(tensor.number(5, "b"))
    number = int.from_bytes(content, "little", signed=True) if DTYPES[kind] == "int32" and len(content) == 4 else None
    return TfliteTensor(name, shape, DTYPES[kind], len(content), scale, zero_point, dimension, variable, sparse, number)


def _quantization(table: Table | None, shape: list[int], name: str) -> tuple[tuple[float, ...], tuple[int, ...], int]:
    scale = tuple(float(value) for value in table.numbers(2, "f4")) if table else ()
    if table is None or not scale:
        return (), (), 0
    zero_point = tuple(int(value) for value in table.numbers(3, "i8")) or (0,) * len(scale)
    dimension = table.number(6, "i")
    per_channel = len(scale) > 1
    if len(zero_point) != len(scale) or (
        per_channel and (dimension not in range(len(shape)) or shape[dimension] != len(scale))
    ):
        raise Corrupt(f"tensor {name!r} of shape {shape} has {len(scale)} scales, {len(zero_point)} zero points")
    return scale, zero_point, dimension


def _operator(
    operator: Table, tensors: tuple[TfliteTensor, ...], codes: list[tuple[int, str, int]], graphs: int
) -> TfliteOperator:
    code, custom, version = codes[_index(operator.number(0, "I"), codes, "operator code")]
    options = operator.table(4)  # well-formed, or Corrupt
    calls: tuple[int, ...] = ()
    if code in CALLING and options is not None:
        calls = tuple(_index(options.number(slot, "i"), range(graphs), "a WHILE or IF") for slot in (0, 1))
    inputs = _indices(operator, 1, tensors, optional=True)
    return TfliteOperator(code, custom, version, inputs, _indices(operator, 2, tensors, optional=False), calls)


def _names(model: Table, main: TfliteGraph) -> tuple[dict[str, int], dict[str, int]]:
    for signature in model.tables(7):
        if signature.number(4, "I") == 0:
            inputs, outputs = (_tensor_map(signature, slot, main) for slot in (0, 1))
            return inputs, outputs
    by_name = [{main.tensors[index].name: index for index in indices} for indices in (main.inputs, main.outputs)]
    return by_name[0], by_name[1]


def _tensor_map(signature: Table, slot: int, main: TfliteGraph) -> dict[str, int]:
    return {row.text(0): _index(row.number(1, "I"), main.tensors, "signature") for row in signature.tables(slot)}


def _indices(table: Table, slot: int, tensors: tuple[TfliteTensor, ...], *, optional: bool) -> tuple[int, ...]:
    indices = tuple(table.numbers(slot, "i4").tolist())
    return tuple(index if optional and index == -1 else _index(index, tensors, "tensor") for index in indices)


def _index(index: int, items: Sized, what: str) -> int:
    count = len(items)
    if index not in range(count):
        raise Corrupt(f"{what} refers to entry {index} of {count}")
    return index


def _info(name: str, tensor: TfliteTensor) -> TensorInfo:
    single = len(tensor.scale) == 1
    return TensorInfo(
        name,
        tensor.shape,
        tensor.dtype,
        file_dtype=tensor.dtype,
        scale=tensor.scale[0] if single else None,
        zero_point=tensor.zero_point[0] if single else None,
    )
