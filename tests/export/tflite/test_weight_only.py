"""int8 weights of float operators: expanded by a DEQUANTIZE, or multiplied by kernels that quantize their inputs."""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, helper

from edgewright.devices.spec import Precision
from edgewright.export.onnx.quantize.calibrate import open_session
from edgewright.export.onnx.quantize.weight_only import Int8WeightOptions, int8_weights
from edgewright.export.steps import Job
from edgewright.export.tflite.convert import (
    Converted,
    TfliteOptions,
    convert,
    tflite_int8_dynamic,
    tflite_int8_weights,
)
from edgewright.runtimes.artifact import artifact_at
from edgewright.runtimes.read import read
from tests.models import NETWORKS

Array = NDArray[np.float32]
Arrays = dict[str, NDArray[Any]]
Files = Mapping[str, Path]
RUNTIMES = ("xnnpack", "builtin", "legacy")
RNG = np.random.default_rng(0)


def int8(array: Array, axis: int) -> tuple[NDArray[np.int8], Array]:
    others = tuple(i for i in range(array.ndim) if i != axis)
    scale = (np.abs(array).max(others) / 127).astype(np.float32)
    spread = [-1 if i == axis else 1 for i in range(array.ndim)]
    return np.rint(array / scale.reshape(spread)).astype(np.int8), scale


CASES: dict[str, tuple[Any, tuple[int, ...], int, tuple[int, ...], tuple[int, ...]]] = {
    "Conv": (
        helper.make_node("Conv", ["x", "w", "b"], ["y"], pads=[1] * 4), (16, 8, 3, 3), 0, (1, 8, 6, 6), (1, 16, 6, 6),
    ),
    "dilated": (
        helper.make_node("Conv", ["x", "w", "b"], ["y"], pads=[2] * 4, dilations=[2, 2]),
        (16, 8, 3, 3), 0, (1, 8, 6, 6), (1, 16, 6, 6),
    ),
    "strided": (
        helper.make_node("Conv", ["x", "w", "b"], ["y"], strides=[2, 2]), (16, 8, 3, 3), 0, (1, 8, 7, 7), (1, 16, 3, 3),
    ),
    "grouped": (
        helper.make_node("Conv", ["x", "w", "b"], ["y"], group=2, pads=[1] * 4),
        (16, 4, 3, 3), 0, (1, 8, 6, 6), (1, 16, 6, 6),
    ),
    "depthwise": (
        helper.make_node("Conv", ["x", "w", "b"], ["y"], group=8, pads=[1] * 4),
        (8, 1, 3, 3), 0, (1, 8, 6, 6), (1, 8, 6, 6),
    ),
    "ConvTranspose": (
        helper.make_node("ConvTranspose", ["x", "w", "b"], ["y"], strides=[2, 2]),
        (8, 16, 2, 2), 1, (1, 8, 4, 4), (1, 16, 8, 8),
    ),
    "Gemm": (helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1), (16, 8), 0, (3, 8), (3, 16)),
    "Gemm, columns": (helper.make_node("Gemm", ["x", "w", "b"], ["y"]), (8, 16), 1, (3, 8), (3, 16)),
    "MatMul": (helper.make_node("MatMul", ["x", "w"], ["y"]), (8, 16), 1, (2, 5, 8), (2, 5, 16)),
}  # fmt: skip
"""Node, shape and channel axis of its weight, shapes of x and y."""
INTEGER_KERNEL = {"Conv", "dilated", "strided", "Gemm", "Gemm, columns", "MatMul"}


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_each_operator_in_every_runtime(
    case: str,
    dynamic: bool,
    graph_of: Callable[..., ModelProto],
    run: Callable[[bytes, Mapping[str, NDArray[Any]], str], Arrays],
    snr_db: Callable[[NDArray[Any], NDArray[Any]], float],
) -> None:
    node, shape, axis, given, made = CASES[case]
    weight = RNG.standard_normal(shape).astype(np.float32) * np.geomspace(0.1, 3, shape[axis]).astype(
        np.float32
    ).reshape([-1 if i == axis else 1 for i in range(len(shape))])
    codes, scale = int8(weight, axis)
    constants: Arrays = {
        "q": codes,
        "s": scale,
        "b": RNG.standard_normal(16 if case != "depthwise" else 8).astype(np.float32),
    }
    constants = {name: array for name, array in constants.items() if name != "b" or "b" in node.input}
    decode = helper.make_node("DequantizeLinear", ["q", "s"], ["w"], axis=axis)
    proto = graph_of([decode, node], {"x": given}, {"y": made}, constants)
    x = RNG.standard_normal(given).astype(np.float32)
    wanted = open_session(ir.from_proto(proto), optimize=False).run(None, {"x": x})[0]
    converted = convert(ir.from_proto(proto), dynamic=dynamic)
    integer = dynamic and case in INTEGER_KERNEL
    assert ("DEQUANTIZE" in op_counts(converted)) == (not integer)
    for runtime in RUNTIMES:
        measured = snr_db(wanted, run(converted.content, {"x": x}, runtime)["y"])
        assert measured > (35 if integer else 120), runtime


def op_counts(converted: Converted) -> Counter[str]:
    return Counter(op.code for op in converted.ops)


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "efficientnet_lite0"])
def test_networks(
    name: str,
    clean_models: Files,
    probes: Mapping[str, Array],
    tmp_path: Path,
    run_all: Callable[[bytes, Array, str], Array],
    onnx_answers: Callable[[Path, Array], Array],
    snr_db: Callable[[NDArray[Any], NDArray[Any]], float],
) -> None:
    source, x = tmp_path / "weights.onnx", probes[name][:4]
    int8_weights(artifact_at(clean_models[name]), source, Job(), Int8WeightOptions())
    wanted, original = onnx_answers(source, x), onnx_answers(clean_models[name], x)
    for step, precision, truth, least_db in (
        (tflite_int8_weights, Precision.INT8_WEIGHTS, wanted, 90),
        (tflite_int8_dynamic, Precision.INT8_DYNAMIC, original, 24),
    ):
        out = tmp_path / f"{step.__name__}.tflite"
        step(artifact_at(source, Precision.INT8_WEIGHTS), out, Job(), TfliteOptions())
        table = read(out)
        assert (table.precision, table.macs) == (precision, read(clean_models[name]).macs)
        assert table.parameter_bytes <= read(source).parameter_bytes + 4096
        decoded = {table.tensors[op.inputs[0]].dtype for op in table.ops if op.op_type == "DEQUANTIZE"}
        assert decoded <= {"int8" if precision is Precision.INT8_WEIGHTS else "float16"}  # depthwise ones stay float
        for runtime in RUNTIMES:
            assert snr_db(truth, run_all(out.read_bytes(), x, runtime)) > least_db, runtime


def test_versions_are_those_that_older_runtimes_know(graph_of: Callable[..., ModelProto]) -> None:
    node, shape, axis, given, made = CASES["Gemm"]
    codes, scale = int8(RNG.standard_normal(shape).astype(np.float32), axis)
    decode = helper.make_node("DequantizeLinear", ["q", "s"], ["w"], axis=axis)
    constants = {"q": codes, "s": scale, "b": np.zeros(16, np.float32)}
    proto = graph_of([decode, node], {"x": given}, {"y": made}, constants)
    dynamic = convert(ir.from_proto(proto), dynamic=True)
    assert [(op.code, op.version) for op in dynamic.ops] == [("RESHAPE", 1), ("CONV_2D", 5), ("RESHAPE", 1)]
    expanded = convert(ir.from_proto(proto))
    assert [(op.code, op.version) for op in expanded.ops] == [("DEQUANTIZE", 5), ("FULLY_CONNECTED", 1)]
    assert dynamic.notes["min_runtime_version"] == "2.4.0"
