"""Files for microcontrollers: tflite-micro's operators only, nothing in them that it does not read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx.parser
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema

from edgewright.errors import BadModel, UnsupportedOps
from edgewright.export.onnx.simplify import simplify
from edgewright.export.steps import Job, steps
from edgewright.export.tflite.convert import convert
from edgewright.export.tflite.micro import TflmInt8Options, TflmOptions, convert_micro, tflm_float32, tflm_int8
from edgewright.export.tflite.micro_kernels import RESOLVER_METHOD
from edgewright.runtimes.artifact import artifact_at
from edgewright.runtimes.contract import CONTRACT_KEY
from edgewright.runtimes.micro import MicroSession, arena_bytes
from edgewright.runtimes.tflite_view import open_tflite

Models = Mapping[str, Path]


def parsed(text: str) -> ir.Model:
    return ir.from_proto(onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]> g {text}'))


def in_micro(text: str, folder: Path, **inputs: Any) -> tuple[list[str], dict[str, Any]]:
    """The operators that a graph becomes, and its answers in tflite-micro."""
    converted = convert_micro(lambda: parsed(text))
    (folder / "m.tflite").write_bytes(converted.content)
    return [op.code for op in converted.ops], MicroSession(folder / "m.tflite").run(inputs)


def test_the_table_names_builtins_of_the_schema() -> None:
    assert len(RESOLVER_METHOD) == 100
    assert {code for code in RESOLVER_METHOD if not hasattr(schema.BuiltinOperator, code)} == set()
    assert len(set(RESOLVER_METHOD.values())) == 100
    assert not {"GELU", "POW", "TILE", "SIGN", "TOPK_V2", "ONE_HOT"} & RESOLVER_METHOD.keys()


def test_the_steps() -> None:
    edges = {(str(step.source), str(step.target)) for step in steps() if step.target.format == "tflm"}
    wanted = ("float32", "int8", "mixed")
    assert edges == {(f"onnx:{precision}", f"tflm:{precision}") for precision in wanted}
    assert TflmInt8Options().io == "int8"


@pytest.mark.parametrize("name", ["watch_cnn", "student_net"])
def test_int8_is_smaller_and_answers_alike(
    name: str, int8_models: Models, probes: Mapping[str, Any], tmp_path: Path
) -> None:
    notes = tflm_int8(artifact_at(int8_models[name]), tmp_path / "m.tflite", Job(), TflmInt8Options())
    plain = convert(ir.load(int8_models[name]), io="int8")
    (tmp_path / "plain.tflite").write_bytes(plain.content)
    micro, other = MicroSession(tmp_path / "m.tflite"), MicroSession(tmp_path / "plain.tflite")
    for probe in probes[name][:4]:
        assert np.array_equal(micro.run({"input": probe[None]})["output"], other.run({"input": probe[None]})["output"])
    assert micro.contract.inputs[0].file_dtype == micro.contract.outputs[0].file_dtype == "int8"
    assert notes["arena_bytes"] == arena_bytes(tmp_path / "m.tflite") == arena_bytes(tmp_path / "plain.tflite")
    assert set(notes["ops"]) <= RESOLVER_METHOD.keys()
    saved = len(plain.content) - (tmp_path / "m.tflite").stat().st_size
    biases = {tensor for op in plain.ops for tensor in op.inputs if tensor is not None and tensor.dtype == np.int32}
    assert saved > sum(tensor.quantization.scale.nbytes for tensor in biases if tensor.quantization is not None)


def test_what_no_microcontroller_reads_is_left_out(int8_models: Models, tmp_path: Path) -> None:
    tflm_int8(artifact_at(int8_models["student_net"]), tmp_path / "m.tflite", Job(), TflmInt8Options())
    file = schema.ModelT.InitFromPackedBuf((tmp_path / "m.tflite").read_bytes(), 0)
    assert not file.signatureDefs and [entry.name.decode() for entry in file.metadata] == [CONTRACT_KEY]
    assert {tensor.name for tensor in file.subgraphs[0].tensors} == {b"input", b"output", None}
    view = open_tflite(tmp_path / "m.tflite")
    assert (list(view.inputs), list(view.outputs)) == (["input"], ["output"])


def test_float_answers_like_the_onnx_file(
    clean_models: Models, probes: Mapping[str, Any], onnx_answers: Any, tmp_path: Path
) -> None:
    source = artifact_at(clean_models["watch_cnn"])
    tflm_float32(source, tmp_path / "m.tflite", Job(), TflmOptions())
    tflm_float32(source, tmp_path / "again.tflite", Job(), TflmOptions())
    assert (tmp_path / "m.tflite").read_bytes() == (tmp_path / "again.tflite").read_bytes()
    given = MicroSession(tmp_path / "m.tflite").run({"input": probes["watch_cnn"][:1]})["output"]
    wanted = onnx_answers(source.path, probes["watch_cnn"][:1])
    assert np.abs(given - wanted).max() < 1e-5 * np.abs(wanted).max()


def test_an_operator_that_it_lacks_is_decomposed(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(0, 3, (1, 16)).astype(np.float32)
    text = "(float[1,16] x) => (float[1,16] y) { y = Gelu(x) }"
    assert [op.code for op in convert(parsed(text)).ops] == ["GELU"]
    codes, answers = in_micro(text, tmp_path, x=x)
    assert "GELU" not in codes and set(codes) <= RESOLVER_METHOD.keys()
    wanted = torch.nn.functional.gelu(torch.from_numpy(x)).numpy()
    assert np.abs(answers["y"] - wanted).max() < 1e-5


def test_what_has_no_simpler_form_is_refused_with_its_kernel() -> None:
    text = "(float[4,9] x) => (float[4,3] y, int64[4,3] i) <int64[1] k = {3}> { y, i = TopK(x, k) }"
    with pytest.raises(UnsupportedOps, match="TopK × 1: tflite-micro has no TOPK_V2"):
        convert_micro(lambda: parsed(text))


def test_int64_is_held_as_int32(tmp_path: Path) -> None:
    text = "(float[2,4] x, int64[2] n) => (int64[2] y) { best = ArgMax<axis=1, keepdims=0>(x) y = Add(best, n) }"
    x = np.eye(4, dtype=np.float32)[[2, 1]]
    _, answers = in_micro(text, tmp_path, x=x, n=np.array([10, -20]))
    assert answers["y"].dtype == np.int64 and answers["y"].tolist() == [12, -19]
    types = {tensor.dtype for tensor in open_tflite(tmp_path / "m.tflite").main.tensors}
    assert types == {"float32", "int32"}


def test_computed_indices_may_count_from_the_end(tmp_path: Path) -> None:
    text = "(float[4,2] x, int64[3] i) => (float[3,2] y) { y = Gather<axis=0>(x, i) }"
    x = np.arange(8, dtype=np.float32).reshape(4, 2)
    codes, answers = in_micro(text, tmp_path, x=x, i=np.array([0, -1, 2]))
    assert "FLOOR_MOD" not in codes and set(codes) <= RESOLVER_METHOD.keys()
    assert answers["y"].tolist() == x[[0, -1, 2]].tolist()


def test_a_query_that_may_see_nothing_gets_zeros(tmp_path: Path) -> None:
    """Its REDUCE_MAX gives the lowest number for the largest of -∞."""
    text = """(float[1,1,2,3] q, float[1,1,4,3] k, float[1,1,4,3] v, bool[2,4] mask) => (float[1,1,2,3] y)
        { y = Attention(q, k, v, mask) }"""
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 23]> g {text}')
    content = convert_micro(lambda: simplify(ir.from_proto(model))[0]).content
    (tmp_path / "m.tflite").write_bytes(content)
    random = np.random.default_rng(0)
    feed = {name: random.normal(size=(1, 1, n, 3)).astype(np.float32) for name, n in (("q", 2), ("k", 4), ("v", 4))}
    feed |= {"mask": np.array([[True, False, True, True], [False] * 4])}
    given = MicroSession(tmp_path / "m.tflite").run(feed)["y"]
    (wanted,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, feed)
    assert np.abs(given - wanted).max() < 1e-5 and not given[0, 0, 1].any()


def test_numbers_beyond_int32_are_refused() -> None:
    text = "(int64[2] x) => (int64[2] y) <int64[1] big = {3000000000}> { y = Add(x, big) }"
    with pytest.raises(UnsupportedOps, match="no int64: big holds numbers beyond int32"):
        convert_micro(lambda: parsed(text))


def test_bytes_enter_a_float_file(tmp_path: Path) -> None:
    text = "(uint8[1,4] x) => (float[1,4] y) { real = Cast<to=1>(x) y = Sqrt(real) }"
    codes, answers = in_micro(text, tmp_path, x=np.array([[0, 4, 9, 255]], np.uint8))
    assert codes == ["DEQUANTIZE", "SQRT"]
    assert np.allclose(answers["y"], np.sqrt([[0, 4, 9, 255]]), rtol=1e-6)


def test_what_the_interpreter_refuses_names_the_tensor(tmp_path: Path) -> None:
    text = "(bool[3] c, int32[3] a, int32[3] b) => (int32[3] y) { y = Where(c, a, b) }"
    ir.save(parsed(text), tmp_path / "m.onnx")
    with pytest.raises(UnsupportedOps, match=r"(?s)SELECT_V2 × 1: tflite-micro .*INT32.*\(y\)"):
        tflm_float32(artifact_at(tmp_path / "m.onnx"), tmp_path / "m.tflite", Job(), TflmOptions())
    assert not (tmp_path / "m.tflite").exists()


def test_weights_over_2_gib_are_refused_before_they_are_read(tmp_path: Path) -> None:
    model = parsed("(float[1,20000] x) => (float[1,30000] y) { y = MatMul(x, w) }")
    shape = ir.Shape((20_000, 30_000))
    weights = ir.ExternalTensor(
        "absent.bin", 0, 4 * 20_000 * 30_000, ir.DataType.FLOAT, name="w", shape=shape, base_dir=tmp_path
    )
    old = next(value for value in model.graph.node(0).inputs if value is not None and value.name == "w")
    new = ir.Value(name="w", shape=shape, type=ir.TensorType(ir.DataType.FLOAT), const_value=weights)
    old.replace_all_uses_with(new)
    model.graph.register_initializer(new)
    with pytest.raises(BadModel, match=r"2\.2 GiB of weights; .* 2 GiB\. Quantize them"):
        convert(model)


@pytest.mark.parametrize("op", ["Gemm", "Conv"])
def test_weights_with_a_scale_by_channel_are_decoded_right(op: str, tmp_path: Path) -> None:
    """Its DEQUANTIZE takes the first scale for all channels; a file that would be answered wrongly is not run."""
    generator = np.random.default_rng(0)
    shape, x_shape = ((5, 8), (1, 8)) if op == "Gemm" else ((5, 8, 1, 1), (1, 8, 4, 4))
    text = f"(float{list(x_shape)} x) => (float{[1, 5, *x_shape[2:]]} y)"
    body = f"{{ d = DequantizeLinear <axis=0>(w, s, z) y = {op} {'<transB=1>' if op == 'Gemm' else ''} (x, d) }}"

    def model() -> ir.Model:
        scales = np.linspace(0.01, 0.2, 5, dtype=np.float32)
        return parsed_with(text, body, {"w": codes, "s": scales, "z": np.zeros(5, np.int8)})

    codes = generator.integers(-127, 128, shape, np.int8)
    x = generator.standard_normal(x_shape).astype(np.float32)
    wanted = onnxruntime.InferenceSession(ir.to_proto(model()).SerializeToString()).run(None, {"x": x})[0]
    (tmp_path / "m.tflite").write_bytes(convert_micro(model).content)
    given = MicroSession(tmp_path / "m.tflite").run({"x": x})["y"]
    np.testing.assert_allclose(given, wanted, rtol=1e-4, atol=1e-4)
    (tmp_path / "plain.tflite").write_bytes(convert(model()).content)
    with pytest.raises(BadModel, match="first scale of 'w'"):
        MicroSession(tmp_path / "plain.tflite")


def parsed_with(text: str, body: str, constants: Mapping[str, Any]) -> ir.Model:
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]> g {text} {body}')
    model.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in constants.items())
    return ir.from_proto(model)
