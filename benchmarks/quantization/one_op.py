"""Each operator of a TFLite file as a file of its own, with its own constants, scales, version; how to run it."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from edgewright.benchmarks.quantization.metrics import Array
from edgewright.runtimes.descriptor import captured
from edgewright.runtimes.tflite_view import TfliteOperator, TfliteView

Call = Callable[[Sequence[Array]], list[Array]]
ARENA_BYTES = 1 << 25


def data_inputs(view: TfliteView, operator: TfliteOperator) -> list[int]:
    """The tensors that an operator reads and that are no constants, each once."""
    return list(dict.fromkeys(i for i in operator.inputs if i >= 0 and not view.main.tensors[i].stored_bytes))


def kind_of(operator: TfliteOperator) -> str:
    from ai_edge_litert import schema_py_generated as schema  # type: ignore[import-untyped]

    return str(next(name for name, code in vars(schema.BuiltinOperator).items() if code == operator.code))


def alone(path: Path, view: TfliteView, position: int) -> bytes:
    """The operator at this position, between its data inputs and its outputs."""
    import flatbuffers  # type: ignore[import-untyped]
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    graph = model.subgraphs[0]
    operator = graph.operators[position]
    kept = list(dict.fromkeys(int(i) for i in (*operator.inputs, *operator.outputs) if i >= 0))
    place = {-1: -1} | {old: new for new, old in enumerate(kept)}
    graph.tensors = [graph.tensors[index] for index in kept]
    model.buffers = [_Buffer(None), *(_Buffer(model.buffers[tensor.buffer].data) for tensor in graph.tensors)]
    for number, tensor in enumerate(graph.tensors, 1):
        tensor.buffer = number
    graph.inputs = [place[index] for index in data_inputs(view, view.main.operators[position])]
    graph.outputs = [place[int(index)] for index in operator.outputs]
    operator.inputs = [place[int(index)] for index in operator.inputs]
    operator.outputs = graph.outputs
    model.operatorCodes, operator.opcodeIndex = [model.operatorCodes[operator.opcodeIndex]], 0
    graph.operators, model.metadata, model.signatureDefs = [operator], [], []
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


class _Buffer:
    """Stands in for the schema's BufferT: data begin on the 16-byte boundary that the schema demands."""

    def __init__(self, data: Any) -> None:
        self._content = b"" if data is None else bytes(bytearray(data))

    def Pack(self, builder: Any) -> int:  # noqa: N802
        from ai_edge_litert import schema_py_generated as schema

        content = None
        if self._content:
            builder.StartVector(1, len(self._content), 16)
            builder.head -= len(self._content)
            builder.Bytes[builder.head : builder.head + len(self._content)] = self._content
            content = builder.EndVector()
        schema.BufferStart(builder)
        if content is not None:
            schema.BufferAddData(builder, content)
        return int(schema.BufferEnd(builder))


def _on_interpreter(package: str, resolver: str, model: bytes) -> Call:
    module = importlib.import_module(f"{package}.interpreter")
    kind = module.OpResolverType[resolver]
    with captured():
        interpreter = module.Interpreter(model_content=model, num_threads=1, experimental_op_resolver_type=kind)
        interpreter.allocate_tensors()

    def call(arrays: Sequence[Array]) -> list[Array]:
        for detail, array in zip(interpreter.get_input_details(), arrays, strict=True):
            interpreter.set_tensor(detail["index"], array)
        interpreter.invoke()
        return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]

    return call


def _on_micro(model: bytes) -> Call:
    from tflite_micro.python.tflite_micro import runtime  # type: ignore[import-untyped]

    with captured():
        interpreter = runtime.Interpreter.from_bytes(model, arena_size=ARENA_BYTES)

    def call(arrays: Sequence[Array]) -> list[Array]:
        for index, array in enumerate(arrays):
            interpreter.set_input(array, index)
        interpreter.invoke()
        return [interpreter.get_output(0)]

    return call


BUILTIN = "LiteRT builtin"
INTERPRETERS: Mapping[str, Callable[[bytes], Call]] = MappingProxyType(
    {
        "LiteRT + XNNPACK": partial(_on_interpreter, "ai_edge_litert", "AUTO"),
        BUILTIN: partial(_on_interpreter, "ai_edge_litert", "BUILTIN_WITHOUT_DEFAULT_DELEGATES"),
        "tflite-runtime": partial(_on_interpreter, "tflite_runtime", "AUTO"),
        "tflite-micro": _on_micro,
    }
)
"""How a file of one operator becomes a function of its inputs, by the runtime's name."""
