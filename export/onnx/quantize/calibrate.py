"""Run the float model on samples and watch its tensors, batch by batch: no activation outlives its batch."""

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgewright.data import Samples
from edgewright.errors import BadData
from edgewright.export.onnx.quantize.observation import Observation
from edgewright.progress import Progress
from edgewright.runtimes.contract import Contract
from edgewright.runtimes.runtime import batch_of, call_inputs

if TYPE_CHECKING:
    import onnx_ir as ir

Arrays = dict[str, NDArray[Any]]


def observe(
    model: "ir.Model", contract: Contract, names: Collection[str], samples: Samples, progress: Progress
) -> dict[str, Observation]:
    """What the tensors of these names take as values over the samples.

    Raises BadData when an input is missing, has another shape, or makes a tensor NaN or infinite.
    """
    seen = {name: Observation() for name in names}
    for values in tensors_by_batch(model, contract, names, samples, progress, "calibrate"):
        _check_finite(values)
        for name, observation in seen.items():
            observation.add(values[name])
    return seen


def tensors_by_batch(
    model: "ir.Model", contract: Contract, names: Collection[str], samples: Samples, progress: Progress, task: str
) -> Iterator[Arrays]:
    """Run the float model batch by batch; the tensors of these names (inputs too) for each, and none is kept."""
    inner = sorted(set(names) - {info.name for info in contract.inputs})
    session = open_session(model, inner)
    with progress.task(task, len(samples)) as advance:
        for batch in batches(contract, samples):
            values = batch | dict(zip(inner, session.run(inner, batch), strict=True)) if inner else batch
            yield {name: values[name] for name in names}
            advance(len(next(iter(batch.values()))))


def open_session(model: "ir.Model", inner: Collection[str] = (), optimize: bool = True) -> Any:
    """An onnxruntime session on one thread, with inner tensors as further outputs."""
    import onnx
    import onnx_ir as ir
    import onnxruntime  # type: ignore[import-untyped]

    proto = ir.to_proto(model)
    known = {output.name for output in proto.graph.output}
    proto.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in inner if name not in known)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimize else level.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def batches(contract: Contract, samples: Samples) -> Iterator[Arrays]:
    """The samples in batches of the model's size, a last partial one left out. Raises BadData when they do not fit."""
    problems = []
    for info in contract.inputs:
        array = samples.inputs.get(info.name)
        if array is None:
            problems.append(f"no array for input {info.name!r} (it has {sorted(samples.inputs)})")
        elif not _fits(info.shape[1:] if contract.is_batched else info.shape, array.shape[1:]):
            problems.append(f"{info.name!r} has shape {array.shape}, the model wants {info.shape}")
        elif array.dtype.kind == "f" and not np.isfinite(array).all():
            problems.append(f"{info.name!r} holds NaN or infinity")
    size = batch_of(contract, 1)
    if len(samples) < size:
        problems.append(f"{len(samples)} samples do not fill one batch of {size}")
    if problems:
        raise BadData(f"{samples.origin}: " + "; ".join(problems))
    for start in range(0, len(samples) - size + 1, size):
        call = call_inputs(contract, samples.inputs, start, size)
        yield {info.name: np.asarray(call[info.name]).astype(info.dtype) for info in contract.inputs}


def _fits(wanted: tuple[int | None, ...], given: tuple[int, ...]) -> bool:
    return len(wanted) == len(given) and all(n in (None, m) for n, m in zip(wanted, given))


def _check_finite(values: Arrays) -> None:
    bad = [name for name, value in values.items() if not np.isfinite(value).all()]
    if bad:
        raise BadData(
            f"the model computes NaN or infinity in {', '.join(bad[:5])} on a calibration sample; "
            "remove such samples, or check their scale"
        )
