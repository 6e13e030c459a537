"""One tiny network, written by hand in every format, with its answer in numpy."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edgewright.runtimes.contract import CONTRACT_KEY, Contract, TensorInfo

Array = NDArray[Any]
GENERATOR = np.random.default_rng(7)
CONV = GENERATOR.standard_normal((3, 2, 3, 3)).astype(np.float32)
CONV_BIAS = GENERATOR.standard_normal(3).astype(np.float32)
LINEAR = GENERATOR.standard_normal((4, 12)).astype(np.float32)
LINEAR_BIAS = GENERATOR.standard_normal(4).astype(np.float32)
CONTRACT = Contract((TensorInfo("image", (1, 2, 4, 4)),), (TensorInfo("scores", (1, 4)),))
NHWC = Contract((TensorInfo("image", (1, 2, 4, 4), permutation=(0, 2, 3, 1)),), CONTRACT.outputs)
MACS = 4 * 3 * 18 + 4 * 12


def answer(image: Array) -> Array:
    """[1, 2, 4, 4] → valid 3×3 convolution → ReLU → [1, 12] → linear → [1, 4]"""
    windows = np.lib.stride_tricks.sliding_window_view(image, (3, 3), axis=(2, 3))
    hidden = np.einsum("ncyxhw,ochw->noyx", windows, CONV) + CONV_BIAS[:, None, None]
    return np.asarray(np.maximum(hidden, 0).reshape(1, 12) @ LINEAR.T + LINEAR_BIAS)


@pytest.fixture(scope="session")
def image() -> Array:
    return np.random.default_rng(1).standard_normal((1, 2, 4, 4)).astype(np.float32)


@pytest.fixture(scope="session")
def expected(image: Array) -> Array:
    return answer(image)


@pytest.fixture(scope="session")
def tiny_onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny") / "tiny.onnx"
    constants = {"w": CONV, "b": CONV_BIAS, "lw": LINEAR, "lb": LINEAR_BIAS}
    nodes = [
        helper.make_node("Conv", ["image", "w", "b"], ["c"], name="conv"),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("Flatten", ["r"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "lw", "lb"], ["scores"], name="linear", transB=1),
    ]
    onnx.save(onnx_model(nodes, {"image": (1, 2, 4, 4)}, {"scores": (1, 4)}, constants, CONTRACT), path)
    return path


def onnx_model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Sequence[int | str]],
    outputs: Mapping[str, Sequence[int | str]],
    constants: Mapping[str, Array],
    contract: Contract | None = None,
) -> onnx.ModelProto:
    """Inputs and outputs are float32."""
    infos = [
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in ends.items()]
        for ends in (inputs, outputs)
    ]
    initializers = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(list(nodes), "graph", infos[0], infos[1], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    if contract is not None:
        helper.set_model_props(model, {CONTRACT_KEY: contract.to_json()})
    return model


@pytest.fixture(scope="session")
def make_onnx() -> Callable[..., onnx.ModelProto]:
    return onnx_model


@pytest.fixture(scope="session")
def tiny_torch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    from edgewright.runtimes.module.factory import find, make
    from edgewright.runtimes.module.folder import Loaded, save_module

    folder = tmp_path_factory.mktemp("torch")
    source = folder / "tiny_factory.py"
    source.write_text(
        "from torch import nn\n\n"
        "def tiny():\n"
        "    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 4))\n"
    )
    factory = find(f"{source}:tiny")
    module = make(factory).module
    parameters = zip(module.parameters(), (CONV, CONV_BIAS, LINEAR, LINEAR_BIAS), strict=True)
    with torch.no_grad():
        for parameter, array in parameters:
            parameter.copy_(torch.from_numpy(array))
    save_module(folder / "tiny.torch", Loaded(module, CONTRACT, {}, (), factory))
    return folder / "tiny.torch"


@dataclass(frozen=True)
class Quantized:
    """Scale and zero point of one tensor."""

    scale: float
    zero_point: int


class TfliteFile:
    """Builds a file with the schema's own object API; tensor 0 of the buffers is the empty one."""

    def __init__(self) -> None:
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.operatorCodes, self.model.metadata, self.model.signatureDefs = [], [], []
        self.model.buffers = [schema.BufferT()]
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.model.subgraphs = [self.graph]

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        dtype: str = "float32",
        data: Array | None = None,
        quantized: Quantized | None = None,
    ) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape = name, list(shape)
        tensor.type = getattr(schema.TensorType, dtype.upper())
        tensor.buffer = self._buffer(data.tobytes()) if data is not None else 0
        if quantized is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [quantized.scale], [quantized.zero_point]
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def constant(self, name: str, array: Array, quantized: Quantized | None = None) -> int:
        return self.tensor(name, array.shape, str(array.dtype), array, quantized)

    def operator(
        self, name: str, inputs: Sequence[int], outputs: Sequence[int], options: Any = None, version: int = 1
    ) -> None:
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, name)
        code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), version
        self.model.operatorCodes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self.model.operatorCodes) - 1
        operator.inputs, operator.outputs = list(inputs), list(outputs)
        if options is not None:
            kind = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType, operator.builtinOptions = getattr(schema.BuiltinOptions, kind), options
        self.graph.operators.append(operator)

    def signature(self, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> None:
        signature = schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = "serving_default", 0
        signature.inputs, signature.outputs = self._map(inputs), self._map(outputs)
        self.model.signatureDefs.append(signature)

    def save(self, path: Path, inputs: Sequence[int], outputs: Sequence[int], contract: Contract | None) -> Path:
        self.graph.inputs, self.graph.outputs = list(inputs), list(outputs)
        if contract is not None:
            metadata = schema.MetadataT()
            metadata.name, metadata.buffer = CONTRACT_KEY, self._buffer(contract.to_json().encode())
            self.model.metadata.append(metadata)
        builder = flatbuffers.Builder(4096)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        path.write_bytes(bytes(builder.Output()))
        return path

    def _buffer(self, content: bytes) -> int:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(content, np.uint8)
        self.model.buffers.append(buffer)
        return len(self.model.buffers) - 1

    def _map(self, names: Mapping[str, int]) -> list[Any]:
        rows = []
        for name, index in names.items():
            row = schema.TensorMapT()
            row.name, row.tensorIndex = name, index
            rows.append(row)
        return rows


@pytest.fixture(scope="session")
def tflite_file() -> type[TfliteFile]:
    return TfliteFile


@pytest.fixture(scope="session")
def quantized() -> type[Quantized]:
    return Quantized


@pytest.fixture(scope="session")
def save_tiny_tflite() -> Callable[[Path, Contract | None], Path]:
    """The tiny network with channels last; its tensors are `x` and `y`, its signature says `image` and `scores`."""

    def save(path: Path, contract: Contract | None) -> Path:
        file = TfliteFile()
        x = file.tensor("x", (1, 4, 4, 2))
        weight = file.constant("w", np.ascontiguousarray(CONV.transpose(0, 2, 3, 1)))
        hidden, flat = file.tensor("r", (1, 2, 2, 3)), file.tensor("f", (1, 12))
        rows = np.ascontiguousarray(LINEAR.reshape(4, 3, 2, 2).transpose(0, 2, 3, 1).reshape(4, 12))
        shape = file.constant("shape", np.array([1, 12], np.int32))
        y = file.tensor("y", (1, 4))
        conv = schema.Conv2DOptionsT()
        conv.padding, conv.strideH, conv.strideW = schema.Padding.VALID, 1, 1
        conv.fusedActivationFunction = schema.ActivationFunctionType.RELU
        file.operator("CONV_2D", [x, weight, file.constant("b", CONV_BIAS)], [hidden], conv)
        file.operator("RESHAPE", [hidden, shape], [flat], schema.ReshapeOptionsT())
        linear = [flat, file.constant("lw", rows), file.constant("lb", LINEAR_BIAS)]
        file.operator("FULLY_CONNECTED", linear, [y], schema.FullyConnectedOptionsT())
        file.signature({"image": x}, {"scores": y})
        return file.save(path, [x], [y], contract)

    return save


@pytest.fixture(scope="session")
def tiny_tflite(
    tmp_path_factory: pytest.TempPathFactory, save_tiny_tflite: Callable[[Path, Contract | None], Path]
) -> Path:
    return save_tiny_tflite(tmp_path_factory.mktemp("tflite") / "tiny.tflite", NHWC)


@pytest.fixture(scope="session")
def int8_tflite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A linear layer [1, 3] → [1, 2] with int8 inputs and outputs; its contract says float32."""
    file = TfliteFile()
    x = file.tensor("x", (1, 3), "int8", quantized=Quantized(0.5, 3))
    w = file.constant("w", np.array([[10, -20, 30], [5, 6, -7]], np.int8), Quantized(0.25, 0))
    b = file.constant("b", np.array([8, -18], np.int32), Quantized(0.125, 0))
    y = file.tensor("y", (1, 2), "int8", quantized=Quantized(1.0, -5))
    file.operator("FULLY_CONNECTED", [x, w, b], [y], schema.FullyConnectedOptionsT(), version=4)
    contract = Contract(
        (TensorInfo("x", (1, 3), file_dtype="int8", scale=0.5, zero_point=3),),
        (TensorInfo("y", (1, 2), file_dtype="int8", scale=1.0, zero_point=-5),),
    )
    return file.save(tmp_path_factory.mktemp("int8") / "linear.tflite", [x], [y], contract)
