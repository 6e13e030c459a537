"""The five networks in three precisions, read back by the tests' own evaluator and compared with ONNX Runtime."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgewright.export.coreml.content import WEIGHT_FILE
from edgewright.export.coreml.convert import convert, coreml_float16, coreml_float32, coreml_int8
from edgewright.export.coreml.options import CoremlInt8Options, CoremlOptions
from edgewright.export.steps import Job
from edgewright.runtimes.artifact import artifact_at, digest_of
from edgewright.runtimes.contract import CONTRACT_KEY, Contract
from edgewright.runtimes.mil.constants import decode
from edgewright.runtimes.mil.evaluate import evaluate
from edgewright.runtimes.read.mil_proto import Weights
from tests.export.coreml.packages import op_types, operations, read_spec
from tests.models import NETWORKS

Files = Mapping[str, Path]
Probes = Mapping[str, NDArray[np.float32]]


def ort_run(model: bytes, x: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """Every output for one sample, by kernels that do what the graph says."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model, options)
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, {"input": x}), strict=True))


def with_codes(path: Path) -> bytes:
    """The model with the int8 codes of every QuantizeLinear as further outputs."""
    model = onnx.load(path)
    names = [node.output[0] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    model.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.INT8, None) for name in names)
    return bytes(model.SerializeToString())


def rounded_to_float16(path: Path) -> bytes:
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float32:
            rounded = array.astype(np.float16).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(rounded, tensor.name))
    return bytes(model.SerializeToString())


def snr_db(reference: NDArray[Any], answer: NDArray[Any]) -> float:
    noise = np.square(reference.astype(np.float64) - answer).sum()
    return float(10 * np.log10(np.square(reference.astype(np.float64)).sum() / max(noise, 1e-30)))


@pytest.mark.parametrize("name", NETWORKS)
def test_float32_answers_like_onnx_runtime(name: str, clean_models: Files, probes: Probes, tmp_path: Path) -> None:
    out, x = tmp_path / "m.mlpackage", probes[name][:1]
    coreml_float32(artifact_at(clean_models[name]), out, Job(), CoremlOptions())
    expected = ort_run(clean_models[name].read_bytes(), x)["output"]
    answer = evaluate(out, {"input": x})["output"]
    # Untrained deep networks amplify the rounding of two summation orders: relative to the largest logit.
    assert np.abs(answer - expected).max() <= 2e-4 * np.abs(expected).max()


@pytest.mark.parametrize("name", NETWORKS)
def test_float16_is_the_network_with_rounded_weights(
    name: str, clean_models: Files, probes: Probes, tmp_path: Path
) -> None:
    out, x = tmp_path / "m.mlpackage", probes[name][:1].astype(np.float16).astype(np.float32)
    notes = coreml_float16(artifact_at(clean_models[name]), out, Job(), CoremlOptions())
    answer = evaluate(out, {"input": x})["output"]
    assert snr_db(ort_run(rounded_to_float16(clean_models[name]), x)["output"], answer) >= 55
    assert notes["float32_nodes"] == []
    if name in ("watch_cnn", "resnet18"):  # the others are untrained and deep: half a bit in a weight travels far
        assert snr_db(ort_run(clean_models[name].read_bytes(), x)["output"], answer) >= 40


@pytest.mark.parametrize("target", ["iOS17", "watchOS11"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_int8_op_answers_within_one_step(
    name: str, target: str, int8_models: Files, probes: Probes, tmp_path: Path
) -> None:
    """Each op is fed ONNX Runtime's own codes, so that one flip does not hide the next op."""
    out, x = tmp_path / "m.mlpackage", probes[name][:1]
    options = CoremlInt8Options(target, compute="float32")
    coreml_int8(artifact_at(int8_models[name]), out, Job(), options)
    expected = ort_run(with_codes(int8_models[name]), x)
    codes = {key: value for key, value in expected.items() if value.dtype == np.int8}
    answers = evaluate(out, {"input": x}, taught=codes)
    steps = {key: np.abs(answers[key].astype(int) - value) for key, value in codes.items()}
    assert len(steps) > 8
    assert max(step.max() for step in steps.values()) <= 1
    assert sum((step > 0).sum() for step in steps.values()) <= 1e-4 * sum(step.size for step in steps.values())


@pytest.mark.parametrize("name", ["watch_cnn", "resnet18"])
def test_int8_around_float16_stays_within_one_step(
    name: str, int8_models: Files, probes: Probes, tmp_path: Path
) -> None:
    out, x = tmp_path / "m.mlpackage", probes[name][:1]
    notes = coreml_int8(artifact_at(int8_models[name]), out, Job(), CoremlInt8Options())
    codes = {k: v for k, v in ort_run(with_codes(int8_models[name]), x).items() if v.dtype == np.int8}
    answers = evaluate(out, {"input": x}, taught=codes, arithmetic="float16-storage")
    steps = {key: np.abs(answers[key].astype(int) - value) for key, value in codes.items()}
    assert notes["compute"] == "float16"
    assert max(step.max() for step in steps.values()) <= 1
    assert sum((step > 0).sum() for step in steps.values()) <= 0.02 * sum(step.size for step in steps.values())


@pytest.mark.parametrize("name", ["watch_cnn", "student_net"])
def test_int8_around_float16_is_as_near_to_the_float_network_as_the_truth(
    name: str, clean_models: Files, int8_models: Files, probes: Probes, tmp_path: Path
) -> None:
    out, rows = tmp_path / "m.mlpackage", [row[None] for row in probes[name]]
    coreml_int8(artifact_at(int8_models[name]), out, Job(), CoremlInt8Options())
    floats, truth = (
        np.concatenate([ort_run(models[name].read_bytes(), row)["output"] for row in rows])
        for models in (clean_models, int8_models)
    )
    answers = np.concatenate([evaluate(out, {"input": row}, arithmetic="float16-storage")["output"] for row in rows])
    assert snr_db(floats, answers) >= snr_db(floats, truth) - 0.5


def test_int8_watch_cnn_end_to_end(int8_models: Files, probes: Probes, tmp_path: Path) -> None:
    out, x = tmp_path / "m.mlpackage", probes["watch_cnn"]
    convert(int8_models["watch_cnn"], out, CoremlOptions(), np.float32)
    expected = np.concatenate([ort_run(int8_models["watch_cnn"].read_bytes(), row[None])["output"] for row in x])
    answers = np.concatenate([evaluate(out, {"input": row[None]})["output"] for row in x])
    assert snr_db(expected, answers) >= 40
    assert (expected.argmax(1) == answers.argmax(1)).all()


def test_weights_are_int8_in_the_file_and_unchanged(int8_models: Files, tmp_path: Path) -> None:
    out = tmp_path / "m.mlpackage"
    notes = convert(int8_models["student_net"], out, CoremlOptions(), np.float16)
    weights_of = Weights(out / "Data/com.apple.CoreML")
    held = [
        decode(op.attributes["quantized_data"], weights_of)
        for op in operations(out)
        if op.type == "constexpr_affine_dequantize"
    ]
    arrays = [numpy_helper.to_array(tensor) for tensor in onnx.load(int8_models["student_net"]).graph.initializer]
    weights = [array for array in arrays if array.dtype == np.int8 and array.ndim > 1]
    assert len(held) == len(weights) == len(notes["compressed"]) == 16
    for array in held:
        assert isinstance(array, np.ndarray) and array.dtype == np.int8
        assert any(np.array_equal(array, weight) for weight in weights)
    assert notes["int8_weight_bytes"] == sum(weight.size for weight in weights)


def test_int8_weights_take_about_a_quarter(clean_models: Files, int8_models: Files, tmp_path: Path) -> None:
    @cache
    def size(source: Path, compute: type[np.floating[Any]]) -> int:
        return int(
            convert(source, tmp_path / f"{source.parent.name}{compute.__name__}.mlpackage", CoremlOptions(), compute)[
                "weight_bytes"
            ]
        )

    float32 = size(clean_models["student_net"], np.float32)
    assert 0.49 < size(clean_models["student_net"], np.float16) / float32 < 0.51
    assert size(int8_models["student_net"], np.float16) / float32 < 0.29


def test_watch_cnn_operations(clean_models: Files, int8_models: Files, tmp_path: Path) -> None:
    convert(clean_models["watch_cnn"], tmp_path / "a.mlpackage", CoremlOptions(), np.float32)
    block = ["conv", "relu", "max_pool"]
    assert op_types(tmp_path / "a.mlpackage") == [*block * 3, "reduce_mean", "reshape", "linear"]
    convert(clean_models["watch_cnn"], tmp_path / "b.mlpackage", CoremlOptions(), np.float16)
    assert op_types(tmp_path / "b.mlpackage") == ["cast", *block * 3, "reduce_mean", "reshape", "linear", "cast"]
    convert(int8_models["watch_cnn"], tmp_path / "c.mlpackage", CoremlOptions(), np.float16)
    pair = ["quantize", "dequantize"]
    weighted = ["constexpr_affine_dequantize", "conv", *pair, "max_pool", *pair]
    tail = ["reduce_mean", *pair, "reshape", *pair, "constexpr_affine_dequantize", "linear", *pair]
    assert op_types(tmp_path / "c.mlpackage") == [*pair, *weighted * 3, *tail]


@pytest.mark.parametrize("compute", [np.float32, np.float16])
def test_border_is_float32_with_the_names_and_shapes_of_the_original(
    compute: type[np.floating[Any]], clean_models: Files, tmp_path: Path
) -> None:
    out = tmp_path / "m.mlpackage"
    convert(clean_models["watch_cnn"], out, CoremlOptions(author="me", licence="MIT", version="3"), compute)
    description = read_spec(out).description
    kind = description.input[0].type.multiArrayType
    assert [i.name for i in description.input] == ["input"] and [o.name for o in description.output] == ["output"]
    assert list(kind.shape) == [1, 6, 100] and kind.dataType == kind.FLOAT32
    assert description.output[0].type.multiArrayType.dataType == kind.FLOAT32
    about = description.metadata
    assert (about.author, about.license, about.versionString) == ("me", "MIT", "3")
    source = onnx.load(clean_models["watch_cnn"])
    original = {entry.key: entry.value for entry in source.metadata_props}[CONTRACT_KEY]
    assert Contract.from_json(about.userDefined[CONTRACT_KEY]) == Contract.from_json(original)


def test_tensors_keep_their_names(clean_models: Files, tmp_path: Path) -> None:
    out = tmp_path / "m.mlpackage"
    assert convert(clean_models["resnet18"], out, CoremlOptions(), np.float32)["renamed"] == {}
    graph = onnx.load(clean_models["resnet18"]).graph
    names = {name for op in operations(out) if op.type != "const" for name in (output.name for output in op.outputs)}
    assert {output for node in graph.node for output in node.output} == names


def test_two_conversions_give_the_same_bytes(int8_models: Files, tmp_path: Path) -> None:
    paths = [tmp_path / "a.mlpackage", tmp_path / "b.mlpackage"]
    for path in paths:
        convert(int8_models["watch_cnn"], path, CoremlOptions(), np.float16)
    assert digest_of(paths[0]) == digest_of(paths[1])
    files = [file.relative_to(paths[0]).as_posix() for file in sorted(paths[0].rglob("*")) if file.is_file()]
    assert files == ["Data/com.apple.CoreML/model.mlmodel", WEIGHT_FILE, "Manifest.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mlpackage", "b.mlpackage"]
    assert "conversion_date" not in str(read_spec(paths[0]).description.metadata)
