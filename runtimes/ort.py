"""onnxruntime: runs ONNX files on the CPU."""

from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgewright.devices.spec import Format
from edgewright.errors import BadInput, BadModel
from edgewright.runtimes.artifact import Artifact
from edgewright.runtimes.contract import CONTRACT_KEY, Contract, TensorInfo
from edgewright.runtimes.runtime import Arrays

if TYPE_CHECKING:
    import onnxruntime as ort  # type: ignore[import-untyped]

SHARED_CONSTANT = "Attempt to replace the existing tensor"  # how onnxruntime 1.32 says it
DTYPES = {"float": "float32", "double": "float64"}  # ONNX names that numpy spells otherwise


class OnnxSession:
    def __init__(self, path: Path, threads: int) -> None:
        self._path = path
        self._threads = threads
        self._session = _open(path, path, threads)
        self.contract = _contract(self._session, path)

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        outputs = [info.name for info in self.contract.outputs]
        return self.contract.from_file(_answer(self._session, outputs, self._feed(inputs)))

    def prepared(self, inputs: Arrays) -> Callable[[], None]:
        """Inputs are bound once; outputs stay in buffers that onnxruntime owns."""
        binding = self._session.io_binding()
        for name, array in self._feed(inputs).items():
            binding.bind_cpu_input(name, array)
        for info in self.contract.outputs:
            binding.bind_output(info.name)
        session = self._session
        return lambda: session.run_with_iobinding(binding)

    def intermediates(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Every inner value of the graph as written (optimizations off); a quantized value is what its readers see."""
        import onnx

        model = onnx.load(self._path)
        names = _expose_inner_values(model)
        session = _open(model.SerializeToString(), self._path, self._threads, optimized=False)
        values = dict(zip(names, _answer(session, names, self._feed(inputs)), strict=True))
        seen = {name: values[reader] for name, reader in _quantized_twins(model).items() if reader in values}
        return {name: array for name, array in (values | seen).items() if array.dtype.kind == "f"}

    def _feed(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        names = [info.name for info in self.contract.inputs]
        return dict(zip(names, self.contract.to_file(inputs), strict=True))


class OnnxRuntime:
    name = "onnxruntime"
    formats = (Format.ONNX,)
    preference = 10
    caution = ""

    def missing(self) -> str | None:
        return None if find_spec("onnxruntime") else "needs 'onnxruntime': pip install 'edgewright[onnx]'"

    def version(self) -> str:
        return version("onnxruntime")

    def load(self, artifact: Artifact, threads: int = 1) -> OnnxSession:
        return OnnxSession(artifact.path, threads)


def _open(model: Path | bytes, path: Path, threads: int, *, optimized: bool = True) -> "ort.InferenceSession":
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # Without VNNI the fast x86 kernels saturate at 16 bits and answer another network; this asks for exact ones, for up
    # to 1.45 times their time. It holds on every x86, so that a file answers alike on all of them.
    options.add_session_config_entry("session.x64quantprecision", "1")
    # Products of int4 weights are as the file says them, not with activations rounded to int8 on the way.
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    if not optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        source = str(model) if isinstance(model, Path) else model
        return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no base class of their own
        if isinstance(model, Path) and SHARED_CONSTANT in str(error):
            return _open(_own_constants(path), path, threads)
        raise BadModel(f"{path}: onnxruntime refuses it: {error}") from None


def _own_constants(path: Path) -> bytes:
    """Codes and a zero point for each reader of a quantized weight: exact kernels fail on shared ones."""
    import onnx

    model = onnx.load(path)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = list(model.graph.node)
    weights = {n.output[0]: n for n in nodes if n.op_type == "DequantizeLinear" and n.input[0] in constants}
    del model.graph.node[:]
    for node in nodes:
        for index, name in enumerate(node.input):
            if name in weights:
                own = model.graph.node.add()
                own.CopyFrom(weights[name])
                for place in range(0, len(own.input), 2):  # codes and zero point
                    tensor = model.graph.initializer.add()
                    tensor.CopyFrom(constants[own.input[place]])
                    tensor.name = own.input[place] = f"{name}/{len(model.graph.node)}/{place}"
                own.name = own.output[0] = node.input[index] = f"{name}/{len(model.graph.node)}"
        if not (node.output and node.output[0] in weights):
            model.graph.node.append(node)
    return bytes(model.SerializeToString())


def _answer(session: "ort.InferenceSession", names: list[str], feed: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
    try:
        return [np.asarray(array) for array in session.run(names, feed)]
    except Exception as error:
        raise BadInput(f"onnxruntime failed on these inputs: {error}") from None


def _contract(session: "ort.InferenceSession", path: Path) -> Contract:
    stored = session.get_modelmeta().custom_metadata_map.get(CONTRACT_KEY)
    contract = Contract(_infos(session.get_inputs()), _infos(session.get_outputs()))
    if stored is not None:
        derived, contract = contract, Contract.from_json(stored)
        contract.check_names([info.name for info in derived.inputs], [info.name for info in derived.outputs], path)
    return contract


def _infos(nodes: Any) -> tuple[TensorInfo, ...]:
    """onnxruntime's descriptions, such as ``tensor(float)`` of shape ``['batch', 3]``."""
    infos = []
    for node in nodes:
        dtype = node.type.removeprefix("tensor(").removesuffix(")")
        shape = tuple(length if isinstance(length, int) else None for length in node.shape)
        infos.append(TensorInfo(node.name, shape, DTYPES.get(dtype, dtype)))
    return tuple(infos)


def _expose_inner_values(model: Any) -> list[str]:
    """Make every node's outputs outputs of the graph (in place); their names."""
    import onnx

    given = {info.name for info in model.graph.output}
    inner = [name for node in model.graph.node for name in node.output if name]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inner if name not in given)
    return inner


def _quantized_twins(model: Any) -> dict[str, str]:
    """x → QuantizeLinear → DequantizeLinear → y: y by x."""
    source = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    readers = [node for node in model.graph.node if node.op_type == "DequantizeLinear" and node.input[0] in source]
    return {source[node.input[0]]: node.output[0] for node in readers}


RUNTIME = OnnxRuntime()
