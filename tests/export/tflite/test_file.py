"""The file itself: what a TFLite reader finds in it."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import onnx_ir as ir
import pytest
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray
from onnx import ModelProto, helper

from edgewright.errors import BadInput, BadModel, Error, UnsupportedOps, WriteFailed
from edgewright.export.lowering import schema_problems
from edgewright.export.steps import Job, steps
from edgewright.export.tflite.convert import TfliteInt8Options, TfliteOptions, convert, tflite_float32, tflite_int8
from edgewright.export.tflite.kernels import KERNELS
from edgewright.export.tflite.rules import TFLITE
from edgewright.runtimes import litert, ort
from edgewright.runtimes.artifact import artifact_at
from edgewright.runtimes.contract import CONTRACT_KEY, Contract

Models = Mapping[str, Path]
GraphOf = Callable[..., ModelProto]


def test_rules_have_the_signatures_of_onnx() -> None:
    assert len(TFLITE.rules()) > 60
    assert schema_problems(TFLITE.rules()) == []


def test_every_kernel_row_is_in_the_schema() -> None:
    for code, kernel in KERNELS.items():
        assert hasattr(schema.BuiltinOperator, code)
        assert kernel.options is None or hasattr(schema.BuiltinOptions, kernel.options)
        assert kernel.int8 <= len(kernel.runtime)


def test_the_steps_are_registered() -> None:
    edges = {(str(step.source), str(step.target)) for step in steps() if str(step.target).startswith("tflite")}
    assert edges >= {
        ("onnx:float32", "tflite:float32"),
        ("onnx:float32", "tflite:float16"),
        ("onnx:int8", "tflite:int8"),
        ("onnx:int8-weights", "tflite:int8-weights"),
        ("onnx:int8-weights", "tflite:int8-dynamic"),
    }


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
@pytest.mark.parametrize("layout", ["original", "nhwc"])
def test_steps_write_files_that_run_in_the_original_terms(
    precision: str, layout: str, clean_models: Models, int8_models: Models, probes: Any, tmp_path: Path
) -> None:
    step = next(step for step in steps() if str(step.target) == f"tflite:{precision}")
    source = artifact_at((int8_models if precision == "int8" else clean_models)["student_net"])
    notes = step.function(source, tmp_path / "a.tflite", Job(), step.options(layout))
    json.dumps(notes)
    inputs = {"input": probes["student_net"][:1]}
    given = litert.RUNTIME.load(artifact_at(tmp_path / "a.tflite")).run(inputs)["output"]
    wanted = ort.RUNTIME.load(artifact_at(clean_models["student_net"])).run(inputs)["output"]
    assert given.shape == wanted.shape
    noise = np.square(given - wanted).sum() / np.square(wanted).sum()
    assert noise < {"float32": 1e-8, "float16": 1e-3, "int8": 0.05}[precision]


def test_a_layout_that_is_not_known_is_refused(clean_models: Models) -> None:
    with pytest.raises(BadInput, match="did you mean 'nhwc'"):
        convert(ir.load(clean_models["watch_cnn"]), layout="nhcw")


def test_a_folder_that_is_not_there_is_said(clean_models: Models, tmp_path: Path) -> None:
    source = artifact_at(clean_models["watch_cnn"])
    with pytest.raises(WriteFailed, match="choose another folder"):
        tflite_float32(source, tmp_path / "absent" / "a.tflite", Job(), TfliteOptions())


def test_importing_the_steps_is_cheap() -> None:
    heavy = "torch", "onnx", "onnx_ir", "onnxscript", "onnxruntime", "ai_edge_litert", "flatbuffers"
    code = f"import sys; import edgewright.export.tflite.convert; print([m for m in {heavy} if m in sys.modules])"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "[]"


def test_identifier_metadata_and_signature(clean_models: Models) -> None:
    model = ir.load(clean_models["watch_cnn"])
    contract = model.metadata_props[CONTRACT_KEY]
    content = convert(model).content
    file = _read(content)
    assert content[4:8] == b"TFL3"
    assert (file.version, file.signatureDefs[0].signatureKey) == (3, b"serving_default")
    metadata = {entry.name: bytes(file.buffers[entry.buffer].data) for entry in file.metadata}
    assert Contract.from_json(metadata[CONTRACT_KEY.encode()].decode()) == Contract.from_json(contract)
    assert metadata[b"min_runtime_version"] == b"1.6.0".ljust(16, b"\0")
    tensors = file.subgraphs[0].tensors
    signature = file.signatureDefs[0]
    assert [(entry.name, tensors[entry.tensorIndex].name) for entry in signature.inputs] == [(b"input", b"input")]
    assert [(entry.name, tensors[entry.tensorIndex].name) for entry in signature.outputs] == [(b"output", b"output")]


def test_inner_tensors_keep_their_onnx_names(clean_models: Models) -> None:
    model = ir.load(clean_models["student_net"])
    known = {str(output.name) for node in model.graph for output in node.outputs} | set(model.graph.initializers)
    file = _read(convert(model).content)
    names = [tensor.name.decode() for tensor in file.subgraphs[0].tensors]
    assert len(names) == len(set(names))
    made = {file.subgraphs[0].tensors[op.outputs[0]].name.decode() for op in file.subgraphs[0].operators}
    assert len(made & known) >= len(made) - 1  # all but the transposed input
    assert {name for name in names if name.endswith("weight")} <= known


@pytest.mark.parametrize("half", [False, True])
def test_buffers_lie_on_16_bytes_inline_and_once(clean_models: Models, half: bool) -> None:
    content = convert(ir.load(clean_models["mobilenet_v2"]), half=half).content
    file = schema.Model.GetRootAs(content, 0)
    bodies = []
    for number in range(file.BuffersLength()):
        buffer = file.Buffers(number)
        assert (buffer.Offset(), buffer.Size()) == (0, 0)
        if not buffer.DataIsNone():
            start = buffer._tab.Vector(buffer._tab.Offset(4))
            assert start % 16 == 0
            bodies.append(buffer.DataAsNumpy().tobytes())
    assert len(bodies) > 50
    assert len(bodies) == len(set(bodies))


def test_the_same_model_gives_the_same_bytes(clean_models: Models, int8_models: Models) -> None:
    for path in (clean_models["watch_cnn"], int8_models["watch_cnn"]):
        assert convert(ir.load(path)).content == convert(ir.load(path)).content


def test_versions_are_the_lowest_that_serve(clean_models: Models, int8_models: Models) -> None:
    def versions(path: Path, half: bool = False) -> dict[str, int]:
        return {op.code: op.version for op in convert(ir.load(path), half=half).ops}

    assert set(versions(clean_models["student_net"]).values()) == {1}
    assert versions(clean_models["student_net"], half=True)["DEQUANTIZE"] == 3
    int8 = versions(int8_models["student_net"])
    assert (int8["CONV_2D"], int8["DEPTHWISE_CONV_2D"], int8["FULLY_CONNECTED"], int8["QUANTIZE"]) == (3, 3, 4, 1)


def test_int8_weights_are_int8_per_channel(int8_models: Models) -> None:
    file = _read(convert(ir.load(int8_models["student_net"])).content)
    tensors, codes = file.subgraphs[0].tensors, file.operatorCodes
    axis = {schema.BuiltinOperator.CONV_2D: 0, schema.BuiltinOperator.DEPTHWISE_CONV_2D: 3}
    seen = 0
    for op in file.subgraphs[0].operators:
        code = codes[op.opcodeIndex].builtinCode
        if code in axis:
            _, weights, bias = (tensors[index] for index in op.inputs)
            assert (weights.type, bias.type) == (schema.TensorType.INT8, schema.TensorType.INT32)
            assert (weights.quantization.quantizedDimension, bias.quantization.quantizedDimension) == (axis[code], 0)
            assert len(weights.quantization.scale) == len(bias.quantization.scale) == weights.shape[axis[code]]
            assert not np.any(weights.quantization.zeroPoint)
            seen += 1
    assert seen == 15


def test_float16_weights_are_float16_and_large_ones_stay(graph_of: GraphOf, run: Any) -> None:
    weights = np.random.default_rng(0).standard_normal((16, 16)).astype(np.float32)
    huge = weights.copy()
    huge[0, 0] = 1e6
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("MatMul", ["h", "huge"], ["y"])]
    model = graph_of(nodes, {"x": (1, 16)}, {"y": (1, 16)}, {"w": weights, "huge": huge})
    converted = convert(ir.from_proto(model), half=True)
    assert converted.notes["float32_beyond_float16"] == ["huge"]
    assert converted.notes["ops"] == {"DEQUANTIZE": 1, "FULLY_CONNECTED": 2}
    x = np.ones((1, 16), np.float32)
    wanted = x @ weights.astype(np.float16).astype(np.float32) @ huge
    assert np.allclose(run(converted.content, {"x": x}, "builtin")["y"], wanted, rtol=1e-3)


def test_all_unsupported_operators_are_listed_with_their_reasons(graph_of: GraphOf) -> None:
    unknown = [helper.make_node("RandomNormalLike", ["x"], ["a"]), helper.make_node("RandomUniformLike", ["a"], ["y"])]
    with pytest.raises(UnsupportedOps) as refusal:
        convert(ir.from_proto(graph_of(unknown, {"x": (1, 3, 3)}, {"y": (1, 3, 3)})))
    assert {op: names for op, (_, names) in refusal.value.missing.items()} == {
        "RandomNormalLike": ["RandomNormalLike_0"],
        "RandomUniformLike": ["RandomUniformLike_1"],
    }

    cases = [
        helper.make_node("Cast", ["x"], ["whole"], to=6),
        helper.make_node("Pow", ["whole", "x"], ["a"]),
        helper.make_node("Gemm", ["a", "a"], ["b"], alpha=2.0),
        helper.make_node("Pow", ["b", "x"], ["c"]),
        helper.make_node("Cast", ["c"], ["y"], to=1),
    ]
    with pytest.raises(UnsupportedOps) as refusal:
        convert(ir.from_proto(graph_of(cases, {"x": (3, 3)}, {"y": (3, 3)})))
    reason = "a whole number to a computed power that may be none: cast the base to float32"
    assert refusal.value.missing["Pow"] == (reason, ["Pow_1", "Pow_3"])
    assert refusal.value.missing["Gemm"][1] == ["Gemm_2"]


def test_unknown_shapes_are_named(graph_of: GraphOf) -> None:
    model = graph_of([helper.make_node("Relu", ["x"], ["y"])], {"x": ("batch", 3)}, {"y": ("batch", 3)})  # type: ignore[dict-item]
    with pytest.raises(BadModel, match="unknown for x, y"):
        convert(ir.from_proto(model))


def test_a_float_file_is_no_int8(clean_models: Models, tmp_path: Path) -> None:
    with pytest.raises(Error, match="no operator is quantized"):
        tflite_int8(artifact_at(clean_models["watch_cnn"]), tmp_path / "a.tflite", Job(), TfliteInt8Options())
    assert list(tmp_path.iterdir()) == []


def _read(content: bytes) -> Any:
    assert flatbuffers.util.BufferHasIdentifier(content, 0, b"TFL3")
    return schema.ModelT.InitFromPackedBuf(content, 0)


def test_an_input_that_is_an_output_is_copied(graph_of: GraphOf, run: Any) -> None:
    nodes = [helper.make_node("Identity", ["x"], ["y"]), helper.make_node("Identity", ["y"], ["z"])]
    converted = convert(ir.from_proto(graph_of(nodes, {"x": (2, 3)}, {"y": (2, 3), "z": (2, 3)})))
    x: NDArray[np.float32] = np.arange(6, dtype=np.float32).reshape(2, 3)
    answers = run(converted.content, {"x": x}, "builtin")
    assert np.array_equal(answers["y"], x)
    assert np.array_equal(answers["z"], x)
