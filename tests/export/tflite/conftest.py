"""Runs the files that the writer makes, by runtimes that nobody here wrote."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ai_edge_litert.interpreter as litert
import numpy as np
import onnxruntime
import pytest
import tflite_runtime.interpreter as legacy
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper
from tflite_micro.python.tflite_micro import runtime as micro

Arrays = dict[str, NDArray[Any]]
Answer = Callable[[bytes, Mapping[str, NDArray[Any]], str], Arrays]

ARENA_BYTES = 16_000_000


def _interpreter(content: bytes, runtime: str) -> Any:
    kinds = litert.OpResolverType
    if runtime == "legacy":
        return legacy.Interpreter(model_content=content, num_threads=1)
    resolver = {
        "xnnpack": kinds.AUTO,
        "builtin": kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        "reference": kinds.BUILTIN_REF,
    }[runtime]
    return litert.Interpreter(model_content=content, num_threads=1, experimental_op_resolver_type=resolver)


def _run(content: bytes, inputs: Mapping[str, NDArray[Any]], runtime: str) -> Arrays:
    """One call by signature names; tflite-micro takes and gives one tensor, by position."""
    if runtime == "micro":
        interpreter = micro.Interpreter.from_bytes(content, arena_size=ARENA_BYTES)
        interpreter.set_input(next(iter(inputs.values())), 0)
        interpreter.invoke()
        return {"output": interpreter.get_output(0).copy()}
    runner = _interpreter(content, runtime).get_signature_runner()
    return {name: array.copy() for name, array in runner(**inputs).items()}


@pytest.fixture
def run() -> Answer:
    return _run


@pytest.fixture
def run_all() -> Callable[[bytes, NDArray[np.float32], str], NDArray[np.float32]]:
    """Samples one by one through a file with `input` and `output`, stacked."""

    def run_samples(content: bytes, samples: NDArray[np.float32], runtime: str) -> NDArray[np.float32]:
        answers = [_run(content, {"input": sample[None]}, runtime)["output"] for sample in samples]
        return np.concatenate(answers)

    return run_samples


@pytest.fixture
def onnx_answers() -> Callable[[Path, NDArray[np.float32]], NDArray[np.float32]]:
    """The same through onnxruntime, unoptimized: what the ONNX file says, to the letter."""

    def run_samples(path: Path, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(path, options)
        return np.concatenate([session.run(None, {"input": sample[None]})[0] for sample in samples])

    return run_samples


@pytest.fixture
def snr_db() -> Callable[[NDArray[Any], NDArray[Any]], float]:
    def measure(wanted: NDArray[Any], given: NDArray[Any]) -> float:
        noise = np.square(wanted.astype(np.float64) - given).sum()
        return float(10 * np.log10(np.square(wanted.astype(np.float64)).sum() / max(noise, 1e-30)))

    return measure


@pytest.fixture
def graph_of() -> Callable[..., ModelProto]:
    """An ONNX model from nodes, shapes of its ends and constants; float32 throughout."""

    def build(
        nodes: list[NodeProto],
        inputs: Mapping[str, tuple[int, ...]],
        outputs: Mapping[str, tuple[int, ...]],
        constants: Mapping[str, NDArray[Any]] | None = None,
    ) -> ModelProto:
        for number, node in enumerate(nodes):
            node.name = node.name or f"{node.op_type}_{number}"
        graph = helper.make_graph(
            nodes,
            "graph",
            [helper.make_tensor_value_info(name, 1, shape) for name, shape in inputs.items()],
            [helper.make_tensor_value_info(name, 1, shape) for name, shape in outputs.items()],
            [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)

    return build
