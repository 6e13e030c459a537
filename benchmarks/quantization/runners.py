"""One file, run in the different ways that must answer alike."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from edgewright.benchmarks.quantization.metrics import Array
from edgewright.data import Samples
from edgewright.runtimes.artifact import artifact_at
from edgewright.runtimes.contract import Contract
from edgewright.runtimes.ort import OnnxRuntime
from edgewright.runtimes.runtime import batch_of, call_inputs, run_samples, runtimes
from edgewright.runtimes.tflite_session import TfliteSession

if TYPE_CHECKING:
    import onnxruntime as ort  # type: ignore[import-untyped]

Runner = Callable[[Path, Samples], dict[str, Array]]


def ort_session(model: Path | bytes, *, optimized: bool, exact: bool = True) -> "ort.InferenceSession":
    """One thread. `exact` asks x86 kernels without VNNI not to saturate at 16 bits."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if exact:
        options.add_session_config_entry("session.x64quantprecision", "1")
    if not optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    source = str(model) if isinstance(model, Path) else model
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def calls(contract: Contract, samples: Samples) -> Iterator[dict[str, Array]]:
    """The inputs as the file wants them, call by call; a last partial batch is left out."""
    inputs = {info.name: samples.inputs[info.name].astype(info.dtype, copy=False) for info in contract.inputs}
    size = batch_of(contract, 1)
    for start in range(0, len(samples) - size + 1, size):
        stored = contract.to_file(call_inputs(contract, inputs, start, size))
        yield {info.name: array for info, array in zip(contract.inputs, stored, strict=True)}


def as_written(path: Path, samples: Samples, like: Path | None = None) -> dict[str, Array]:
    """The reference: onnxruntime without any optimization computes each node as the file says.

    `like` names a file with the same inputs and outputs: onnxruntime's optimizer may refuse a peer's file.
    """
    contract = OnnxRuntime().load(artifact_at(like or path)).contract
    session = ort_session(path, optimized=False)
    names = [info.name for info in contract.outputs]
    answers = [contract.from_file(session.run(names, feed)) for feed in calls(contract, samples)]
    join = np.concatenate if contract.is_batched else np.stack
    return {name: join([answer[name] for answer in answers]) for name in names}


def shipped(runtime: str, path: Path, samples: Samples) -> dict[str, Array]:
    """By one of the package's runtimes, as users run it."""
    return run_samples(runtimes()[runtime].load(artifact_at(path)), samples.inputs)


def without_xnnpack(path: Path, samples: Samples) -> dict[str, Array]:
    """LiteRT's own kernels: no delegate."""
    session = TfliteSession(path, 1, _builtin_interpreter)
    return run_samples(session, samples.inputs)


def _builtin_interpreter(path: Path, threads: int, keep_inner: bool) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType  # type: ignore[import-untyped]

    return Interpreter(
        model_path=str(path),
        num_threads=threads,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=keep_inner,
    )


ONNX_RUNNERS: Mapping[str, Runner] = MappingProxyType(
    {"onnxruntime as written": as_written, "onnxruntime x86": partial(shipped, "onnxruntime")}
)
TFLITE_RUNNERS: Mapping[str, Runner] = MappingProxyType(
    {
        "LiteRT + XNNPACK": partial(shipped, "litert"),
        "LiteRT builtin": without_xnnpack,
        "tflite-runtime": partial(shipped, "tflite-runtime"),
        "tflite-micro": partial(shipped, "tflite-micro"),
    }
)
