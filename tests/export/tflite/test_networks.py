"""The five networks in three precisions, through every TFLite runtime, against onnxruntime."""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from edgewright.export.tflite.convert import Converted, convert

NETWORKS = ("watch_cnn", "student_net", "mobilenet_v2", "resnet18", "efficientnet_lite0")
RUNTIMES = ("xnnpack", "builtin", "reference", "legacy", "micro")
RUNTIMES_WITH_FLOAT16 = ("xnnpack", "builtin", "reference", "legacy")
PROBES = 4

FLOAT32_RELATIVE = 1e-4
FLOAT16_SNR_DB = {"watch_cnn": 55, "student_net": 45, "resnet18": 50, "mobilenet_v2": 33, "efficientnet_lite0": 33}
"""The two last are deep, narrow and untrained; onnxruntime on the same rounded weights is checked as well."""
FLOAT16_OF_ROUNDED_RELATIVE = 1e-4
INT8_LOSS_DB = 3.0  # of SNR against float, beyond what the ONNX file itself loses; rounding differs by runtime

HEAD = {"MEAN": 1, "FULLY_CONNECTED": 1, "TRANSPOSE": 1}
BODY = {
    "watch_cnn": HEAD | {"CONV_2D": 3, "MAX_POOL_2D": 3, "RESHAPE": 1},
    "student_net": HEAD | {"CONV_2D": 8, "DEPTHWISE_CONV_2D": 7, "MAX_POOL_2D": 4},
    "mobilenet_v2": HEAD | {"CONV_2D": 35, "DEPTHWISE_CONV_2D": 17, "ADD": 11, "PAD": 5},
    "resnet18": HEAD | {"CONV_2D": 20, "ADD": 8, "PAD": 4, "PADV2": 1, "MAX_POOL_2D": 1},
    "efficientnet_lite0": HEAD | {"CONV_2D": 33, "DEPTHWISE_CONV_2D": 16, "ADD": 10, "PAD": 5},
}

Samples = NDArray[np.float32]
RunAll = Callable[[bytes, Samples, str], Samples]
OnnxAnswers = Callable[[Path, Samples], Samples]
Snr = Callable[[Samples, Samples], float]
Models = Mapping[str, Path]


@pytest.mark.parametrize("name", NETWORKS)
def test_float32_answers_like_onnxruntime_everywhere(
    name: str, clean_models: Models, probes: Mapping[str, Samples], run_all: RunAll, onnx_answers: OnnxAnswers
) -> None:
    content = convert(ir.load(clean_models[name])).content
    wanted = onnx_answers(clean_models[name], probes[name][:PROBES])
    for runtime in RUNTIMES:
        given = run_all(content, probes[name][:PROBES], runtime)
        assert np.abs(given - wanted).max() <= FLOAT32_RELATIVE * np.abs(wanted).max(), runtime


@pytest.mark.parametrize("name", NETWORKS)
def test_float16_loses_what_rounding_the_weights_loses(
    name: str,
    clean_models: Models,
    probes: Mapping[str, Samples],
    run_all: RunAll,
    onnx_answers: OnnxAnswers,
    snr_db: Snr,
    tmp_path: Path,
) -> None:
    converted = convert(ir.load(clean_models[name]), half=True)
    samples = probes[name][:PROBES]
    wanted = onnx_answers(clean_models[name], samples)
    rounded = onnx_answers(_with_rounded_weights(clean_models[name], converted, tmp_path), samples)
    for runtime in RUNTIMES_WITH_FLOAT16:
        given = run_all(converted.content, samples, runtime)
        assert snr_db(wanted, given) >= FLOAT16_SNR_DB[name], runtime
        assert np.abs(given - rounded).max() <= FLOAT16_OF_ROUNDED_RELATIVE * np.abs(rounded).max(), runtime


@pytest.mark.parametrize("name", NETWORKS)
def test_int8_keeps_the_accuracy_of_its_truth_everywhere(
    name: str,
    clean_models: Models,
    int8_models: Models,
    probes: Mapping[str, Samples],
    run_all: RunAll,
    onnx_answers: OnnxAnswers,
    snr_db: Snr,
) -> None:
    converted = convert(ir.load(int8_models[name]))
    real = onnx_answers(clean_models[name], probes[name])
    truth_db = snr_db(real, onnx_answers(int8_models[name], probes[name]))
    assert converted.notes["heavy_int8_share"] == 1.0
    assert converted.notes["float_ops"] == []
    for runtime in RUNTIMES:
        given = run_all(converted.content, probes[name], runtime)
        assert snr_db(real, given) >= truth_db - INT8_LOSS_DB, runtime


@pytest.mark.parametrize("name", NETWORKS)
def test_op_list_is_the_network_with_one_transpose_at_its_input(
    name: str, clean_models: Models, int8_models: Models
) -> None:
    converted = convert(ir.load(clean_models[name]))
    counts = Counter(op.code for op in converted.ops)
    assert counts == BODY[name]
    assert converted.ops[0].code == "TRANSPOSE"
    half = Counter(op.code for op in convert(ir.load(clean_models[name]), half=True).ops)
    assert half - Counter({"DEQUANTIZE": half["DEQUANTIZE"]}) == BODY[name]
    int8 = convert(ir.load(int8_models[name]))
    assert Counter(op.code for op in int8.ops) == {**BODY[name], "QUANTIZE": 1, "DEQUANTIZE": 1}
    assert (int8.ops[0].code, int8.ops[-1].code) == ("QUANTIZE", "DEQUANTIZE")


def test_watch_network_op_by_op(clean_models: Models) -> None:
    ops = convert(ir.load(clean_models["watch_cnn"])).ops
    block = ["CONV_2D", "MAX_POOL_2D"]
    assert [op.code for op in ops] == ["TRANSPOSE", "RESHAPE", *block * 3, "MEAN", "FULLY_CONNECTED"]
    assert all(op.options["fusedActivationFunction"] == "RELU" for op in ops if op.code == "CONV_2D")
    assert all(op.options["padding"] == "SAME" for op in ops if op.code == "CONV_2D")


def test_overhead_beyond_the_weights_is_small(clean_models: Models, int8_models: Models) -> None:
    for name in NETWORKS:
        for path, bytes_per_op in ((clean_models[name], 320), (int8_models[name], 1400)):
            converted = convert(ir.load(path))
            assert converted.notes["overhead_bytes"] < bytes_per_op * len(converted.ops), name


def _with_rounded_weights(path: Path, converted: Converted, folder: Path) -> Path:
    """The ONNX file with those weights rounded to float16 that the TFLite file holds so."""
    halved = {
        str(tensor.name).removesuffix("/float16")
        for op in converted.ops
        for tensor in op.inputs
        if tensor is not None and tensor.dtype == np.float16
    }
    assert halved
    model = ir.load(path)
    for name, value in model.graph.initializers.items():
        if name in halved and value.const_value is not None:
            half = value.const_value.numpy().astype(np.float16)
            value.const_value = ir.tensor(half.astype(np.float32), name=name)
    ir.save(model, folder / "rounded.onnx")
    return folder / "rounded.onnx"
