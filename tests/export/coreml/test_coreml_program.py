"""Small graphs: what the writer refuses and why, names, types at the border, constants that float16 cannot hold."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from edgewright.errors import BadInput, BadModel, UnsupportedOps, WriteFailed
from edgewright.export.coreml.convert import convert
from edgewright.export.coreml.lowerings import COREML
from edgewright.export.coreml.options import CoremlInt8Options, CoremlOptions
from edgewright.export.lowering import schema_problems
from edgewright.export.reasons import REASONS
from edgewright.runtimes.artifact import digest_of
from edgewright.runtimes.contract import CONTRACT_KEY, NAMES_KEY, Contract
from edgewright.runtimes.mil.evaluate import evaluate
from edgewright.runtimes.mil.session import MilSession
from tests.export.coreml.packages import op_types, read_spec

IOS17 = CoremlOptions()


def saved(folder: Path, graph: str, constants: dict[str, NDArray[Any]] | None = None) -> Path:
    """A model from onnx's text form, with these initializers and inferred shapes."""
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]> {graph}')
    for number, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}_{number}"
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in (constants or {}).items())
    path = folder / "model.onnx"
    onnx.save(onnx.shape_inference.infer_shapes(model, strict_mode=True), path)
    return path


def test_signatures_are_onnx_schemas() -> None:
    assert schema_problems(COREML.rules()) == []


def test_importing_the_steps_and_rules_stays_cheap() -> None:
    code = (
        "import sys, edgewright.export.coreml.convert, edgewright.export.coreml.lowerings as l; l.COREML.rules();"
        "print([m for m in ('coremltools', 'onnx', 'onnx_ir', 'torch') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_all_unsupported_operators_are_listed_at_once(tmp_path: Path) -> None:
    graph = "g (float[1,4] x) => (float[1,4] y) { b = Bernoulli(x) c = Bernoulli(b) y = Relu(c) }"
    with pytest.raises(UnsupportedOps) as caught:
        convert(saved(tmp_path, graph), tmp_path / "m.mlpackage", IOS17, np.float32)
    assert caught.value.missing == {"Bernoulli": (REASONS["Bernoulli"], ["Bernoulli_0", "Bernoulli_1"])}
    assert not (tmp_path / "m.mlpackage").exists()


def test_all_refused_cases_are_listed_at_once(tmp_path: Path) -> None:
    graph = """g (float[1,2,8,8] x, int64 k, int64[1] many) => (float[1,2,1,8,8,1] y) {
        a, i = TopK (x, many)
        b = CumSum (x, k)
        c = CumSum (b, k)
        y = Reshape (c, shape)
    }"""
    path = saved(tmp_path, graph, {"shape": np.array([1, 2, 1, 8, 8, 1])})
    for compute in (np.float32, np.float16):
        with pytest.raises(UnsupportedOps) as caught:
            convert(path, tmp_path / "m.mlpackage", IOS17, compute)
        assert caught.value.missing == {
            "TopK": ("its k is computed at run time, Core ML wants a constant", ["TopK_0"]),
            "CumSum": ("its axis is computed at run time, Core ML wants a constant", ["CumSum_1", "CumSum_2"]),
            "Reshape": ("rank 6, Core ML tensors have at most 5 dimensions", ["Reshape_3"]),
        }
    assert list(tmp_path.iterdir()) == [path]


def test_a_graph_without_inputs(tmp_path: Path) -> None:
    graph = "g () => (float[2] y, int64[1] n) <float[2] k = {-1, 2}, int64[1] n = {7}> { y = Relu(k) }"
    out = tmp_path / "m.mlpackage"
    convert(saved(tmp_path, graph), out, CoremlOptions("iOS18"), np.float32)
    given = MilSession(out).run({})
    assert {name: array.tolist() for name, array in given.items()} == {"y": [0, 2], "n": [7]}


def test_bounds_computed_at_run_time(tmp_path: Path) -> None:
    graph = "g (float[2,3] x, float low) => (float[2,3] y) { y = Clip(x, low) }"
    out = tmp_path / "m.mlpackage"
    convert(saved(tmp_path, graph), out, IOS17, np.float32)
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert evaluate(out, {"x": x, "low": np.array([2], np.float32)})["y"].tolist() == [[2, 2, 2], [3, 4, 5]]


QDQ = """g (float[1,4] x) => (float[1,4] y) {
    q = QuantizeLinear (x, s, z) y = DequantizeLinear (q, s, z)
}"""
QDQ_CONSTANTS = {"s": np.array(0.5, np.float32), "z": np.array(3, np.int8)}


@pytest.mark.parametrize("target", ["iOS16", "watchOS9"])
def test_int8_activations_name_the_lowest_target(target: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedOps, match=r"QuantizeLinear × 1: MIL's `quantize` needs target iOS17 or later"):
        convert(saved(tmp_path, QDQ, QDQ_CONSTANTS), tmp_path / "m.mlpackage", CoremlOptions(target), np.float32)
    with pytest.raises(BadInput, match=r"iOS17 / watchOS10"):
        CoremlInt8Options(target)


def test_an_unknown_target_names_the_nearest() -> None:
    with pytest.raises(BadInput, match=r"did you mean .*'watchOS10'"):
        CoremlOptions("watchOS1O")
    with pytest.raises(BadInput, match="unknown compute 'float8'"):
        CoremlInt8Options(compute="float8")
    with pytest.raises(BadInput, match=r"options are text; not target = 17, version = 1.0"):
        CoremlOptions(target=17, version=1.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("target", "version", "weight_op"),
    [
        ("iOS16", 7, "constexpr_affine_dequantize"),
        ("watchOS10", 8, "constexpr_affine_dequantize"),
        ("iOS18", 9, "constexpr_blockwise_shift_scale"),
    ],
)
def test_int8_weights_by_target(target: str, version: int, weight_op: str, tmp_path: Path) -> None:
    """Fewer than ten codes stay in the program text, as int8 too; the notes say where each tensor lies."""
    rng = np.random.default_rng(0)
    graph = """g (float[1,3,4,4] x) => (float[1,5,4,4] y) {
        w1 = DequantizeLinear <axis = 0> (c1, s1, z1) w2 = DequantizeLinear <axis = 0> (c2, s2, z2)
        b1 = DequantizeLinear <axis = 0> (cb, sb) h = Conv (x, w1, b1) y = Conv (h, w2)
    }"""
    constants = {
        "c1": rng.integers(-127, 128, (2, 3, 1, 1), np.int8),
        "s1": np.array([0.01, 0.02], np.float32),
        "z1": np.zeros(2, np.int8),
        "c2": rng.integers(-127, 128, (5, 2, 1, 1), np.int8),
        "s2": rng.uniform(0.01, 0.02, 5).astype(np.float32),
        "z2": np.zeros(5, np.int8),
        "cb": np.array([100, -70000], np.int32),
        "sb": np.array([1e-5, 2e-5], np.float32),
    }
    out, x = tmp_path / "m.mlpackage", rng.standard_normal((1, 3, 4, 4)).astype(np.float32)
    notes = convert(saved(tmp_path, graph, constants), out, CoremlOptions(target), np.float32)
    assert notes["compressed"] == [
        {"name": "w1", "shape": [2, 3, 1, 1], "bytes": 6, "in": "program"},
        {"name": "w2", "shape": [5, 2, 1, 1], "bytes": 10, "in": "weight.bin"},
    ]
    assert notes["operations"] == {"conv": 2, weight_op: 2}
    assert read_spec(out).specificationVersion == version
    w1, w2 = [(constants[f"c{i}"] * constants[f"s{i}"].reshape(-1, 1, 1, 1))[:, :, 0, 0] for i in (1, 2)]
    hidden = np.einsum("oi,nihw->nohw", w1, x) + (constants["cb"] * constants["sb"]).reshape(1, -1, 1, 1)
    np.testing.assert_allclose(evaluate(out, {"x": x})["y"], np.einsum("oi,nihw->nohw", w2, hidden), rtol=1e-5)


def test_names_that_are_no_identifiers_are_replaced_and_recorded(tmp_path: Path) -> None:
    graph = 'g (float[1,4] "input.1") => (float[1,4] "/out") { relu_0 = Sigmoid("input.1") "/out" = HardSwish(relu_0) }'
    graph = graph.replace('"input.1"', "input_A").replace('"/out"', "out_A")
    path = saved(tmp_path, graph)
    model = onnx.load(path)
    renames = {"input_A": "input.1", "out_A": "fp16"}  # a dot, and a word that MIL reserves
    for value in (*model.graph.input, *model.graph.output):
        value.name = renames[value.name]
    for node in model.graph.node:
        node.input[:] = [renames.get(name, name) for name in node.input]
        node.output[:] = [renames.get(name, name) for name in node.output]
    onnx.save(model, path)
    out, x = tmp_path / "m.mlpackage", np.array([[-4, -1, 0, 5]], np.float32)
    notes = convert(path, out, IOS17, np.float32)
    description = read_spec(out).description
    assert notes["renamed"] == {"input_1": "input.1", "fp16_workaround": "fp16"}
    assert [description.input[0].name, description.output[0].name] == ["input_1", "fp16_workaround"]
    assert NAMES_KEY in description.metadata.userDefined
    contract = Contract.from_json(description.metadata.userDefined[CONTRACT_KEY])
    assert [contract.inputs[0].name, contract.outputs[0].name] == ["input.1", "fp16"]
    values = evaluate(out, {"input_1": x})
    np.testing.assert_allclose(values["relu_0"], 1 / (1 + np.exp(-x)), rtol=1e-6)


def test_scalars_and_integers_at_the_border(tmp_path: Path) -> None:
    graph = """g (float[2] x, float s, int64[3] i, bool[2] c) => (float[2] y, float t, int64[3] j, bool[2] d) {
        y = Mul (x, s) t = Exp (s) j = Add (i, i) d = Not (c)
    }"""
    out = tmp_path / "m.mlpackage"
    notes = convert(saved(tmp_path, graph), out, IOS17, np.float32)
    description = read_spec(out).description
    contract = Contract.from_json(description.metadata.userDefined[CONTRACT_KEY])
    assert [info.file_dtype for info in (*contract.inputs, *contract.outputs)] == [None, None, "int32", "int32"] * 2
    assert notes["scalars_as_vectors"] == ["s", "t"]
    held = {info.name: list(info.type.multiArrayType.shape) for info in (*description.input, *description.output)}
    assert held == {"x": [2], "s": [1], "i": [3], "c": [2], "y": [2], "t": [1], "j": [3], "d": [2]}
    given = {
        "x": np.array([1, 2], np.float32),
        "s": np.array(3, np.float32),
        "i": np.arange(3),
        "c": np.array([True, False]),
    }
    values = evaluate(out, {info.name: np.atleast_1d(info.to_file(given[info.name])) for info in contract.inputs})
    assert values["y"].tolist() == [3, 6] and values["j"].tolist() == [0, 2, 4] and values["d"].tolist() == [0, 1]
    np.testing.assert_allclose(values["t"], [np.exp(3)], rtol=1e-6)


def test_an_output_may_be_an_input_or_appear_twice(tmp_path: Path) -> None:
    graph = "g (float[2] x) => (float[2] y, float[2] z, float[2] w) { y = Identity(x) z = Relu(x) w = Identity(z) }"
    out, x = tmp_path / "m.mlpackage", np.array([-1, 2], np.float32)
    for compute in (np.float32, np.float16):
        path = out.with_stem(compute.__name__)
        convert(saved(tmp_path, graph), path, IOS17, compute)
        values = evaluate(path, {"x": x})
        assert [values[name].tolist() for name in "yzw"] == [[-1, 2], [0, 2], [0, 2]]


@pytest.mark.parametrize("target", ["iOS15", "iOS17"])
@pytest.mark.parametrize("compute", [np.float32, np.float16])
def test_constant_outputs_and_inputs_that_nobody_reads(
    compute: type[np.floating[Any]], target: str, tmp_path: Path
) -> None:
    graph = """g (bool[2] c, float[2,3] x) => (float[2] k, int64[2] n, bool d, float inf) {
        n = Shape (x) k = Identity (r) d = Identity (t) inf = Identity (i)
    }"""
    constants = {
        "r": np.array([1 / 3, -1e38], np.float32),
        "t": np.array(True),
        "i": np.array(-np.inf, np.float32),
    }
    out, again = tmp_path / "m.mlpackage", tmp_path / "again.mlpackage"
    for path in (out, again):
        convert(saved(tmp_path, graph, constants), path, CoremlOptions(target), compute)
    assert digest_of(out) == digest_of(again)
    session = MilSession(out)
    given = {"c": np.array([True, False]), "x": np.full((2, 3), np.nan, np.float32)}
    answers = session.run(given)
    assert [info.name for info in session.contract.inputs] == ["c", "x"]
    assert {name: (array.dtype.name, array.tolist()) for name, array in answers.items()} == {
        "k": ("float32", constants["r"].tolist()),
        "n": ("int64", [2, 3]),
        "d": ("bool", True),
        "inf": ("float32", -np.inf),
    }


def test_constants_beyond_float16_keep_their_node_in_float32(tmp_path: Path) -> None:
    graph = """g (float[1,2] x) => (float[1,2] y) {
        a = Mul (x, huge) b = Mul (a, tiny) c = Clip (b, low, high) y = Add (c, one)
    }"""
    constants = {
        "huge": np.array(1e6, np.float32),
        "tiny": np.array(1e-7, np.float32),
        "one": np.array(1, np.float32),
        "low": np.array(0, np.float32),
        "high": np.array(np.finfo(np.float32).max, np.float32),
    }
    out = tmp_path / "m.mlpackage"
    notes = convert(saved(tmp_path, graph, constants), out, IOS17, np.float16)
    assert notes["float32_nodes"] == ["Mul_0", "Mul_1"]
    assert op_types(out) == ["mul", "mul", "cast", "relu", "add", "cast"]
    answer = evaluate(out, {"x": np.array([[10, -10]], np.float32)}, arithmetic="float16-storage")["y"]
    np.testing.assert_allclose(answer, [[2, 1]], rtol=1e-3)


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        ("g (float[N,4] x) => (float[N,4] y) { y = Relu(x) }", "fixed lengths"),
        ("g (float16[1,4] x) => (float16[1,4] y) { y = Relu(x) }", "takes and gives FLOAT"),
        ("g () => (float[2] y) <float[2] k = {1, 2}> { y = Relu(k) }", "takes a file without from target iOS18"),
        ("g (float[2] x) => (int64[1] k) <int64[1] k = {3000000000}> { y = Relu(x) }", "integers beyond 32 bits"),
    ],
)
def test_an_unusable_border_is_a_bad_model(graph: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(BadModel, match=message):
        convert(saved(tmp_path, graph), tmp_path / "m.mlpackage", IOS17, np.float32)


@pytest.mark.parametrize("target", ["iOS15", "iOS16", "iOS18"])
def test_gelu_and_gather_say_all_their_parameters(target: str, tmp_path: Path) -> None:
    graph = 'g (float[2,4] x, int64[2] i) => (float[2,4] y) { a = Gelu<approximate = "tanh">(x) y = Gather(a, i) }'
    out, x = tmp_path / "m.mlpackage", np.linspace(-2, 2, 8, dtype=np.float32).reshape(2, 4)
    convert(saved(tmp_path, graph), out, CoremlOptions(target), np.float32)
    function = read_spec(out).mlProgram.functions["main"]
    named = {op.type: set(op.inputs) for op in function.block_specializations[function.opset].operations}
    assert named["gelu"] == {"x", "mode"}
    assert named["gather"] >= {"x", "indices", "axis"}
    inner = np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
    answer = evaluate(out, {"x": x, "i": np.array([1, -2], np.int32)})["y"]
    np.testing.assert_allclose(answer, (0.5 * x * (1 + np.tanh(inner)))[[1, 0]], rtol=1e-5, atol=1e-6)


def test_an_old_package_is_replaced_whole_and_nothing_is_left_half_written(tmp_path: Path) -> None:
    path = saved(tmp_path, "g (float[1,4] x) => (float[1,4] y) { y = Relu(x) }")
    old = tmp_path / "m.mlpackage"
    old.mkdir()
    (old / "stray").touch()
    convert(path, old, IOS17, np.float32)
    assert sorted(file.name for file in old.iterdir()) == ["Data", "Manifest.json"]
    with pytest.raises(WriteFailed, match="File exists"):
        convert(path, path / "m.mlpackage", IOS17, np.float32)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["m.mlpackage", "model.onnx"]


@pytest.mark.parametrize("shape", [(), (1,), (3,), (1, 3), (2, 3), (2, 1)])
@pytest.mark.parametrize("flipped", [0, 1])
def test_gemm_adds_any_third_operand(shape: tuple[int, ...], flipped: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weight, c = rng.standard_normal((4, 3)).astype(np.float32), rng.standard_normal(shape).astype(np.float32)
    graph = f"g (float[2,4] x) => (float[2,3] y) {{ y = Gemm<transB = {flipped}, beta = 2.0>(x, w, c) }}"
    path = saved(tmp_path, graph, {"w": np.ascontiguousarray(weight.T) if flipped else weight, "c": c})
    out, x = tmp_path / "m.mlpackage", rng.standard_normal((2, 4)).astype(np.float32)
    convert(path, out, IOS17, np.float32)
    assert op_types(out) == (["linear", "add"] if shape in ((2, 3), (2, 1)) else ["linear"])
    np.testing.assert_allclose(evaluate(out, {"x": x})["y"], x @ weight + 2 * c, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("target", ["iOS17", "iOS18"])
@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 3)])
def test_an_int8_constant_needs_no_axis(shape: tuple[int, ...], target: str, tmp_path: Path) -> None:
    """One scale for all codes: ONNX's default axis 1 means nothing then, whatever the rank."""
    codes = np.random.default_rng(0).integers(-128, 128, shape, np.int8)
    constants = {"c": np.asarray(codes), "s": np.array(0.25, np.float32), "z": np.array(3, np.int8)}
    out, x = tmp_path / "m.mlpackage", np.linspace(-2, 2, 6, dtype=np.float32).reshape(2, 3)
    graph = "g (float[2,3] x) => (float[2,3] y) { k = DequantizeLinear (c, s, z) y = Add (x, k) }"
    notes = convert(saved(tmp_path, graph, constants), out, CoremlOptions(target), np.float32)
    assert len(notes["compressed"]) == (1 if shape else 0)
    np.testing.assert_allclose(evaluate(out, {"x": x})["y"], x + (codes.astype(np.float32) - 3) * 0.25, rtol=1e-6)


def test_an_epsilon_below_float16_divides_by_no_zero(tmp_path: Path) -> None:
    graph = "g (float[1,4] x) => (float[1,4] y) { y = LayerNormalization <epsilon = 1e-12> (x, one, zero) }"
    constants = {"one": np.ones(4, np.float32), "zero": np.zeros(4, np.float32)}
    out = tmp_path / "m.mlpackage"
    convert(saved(tmp_path, graph, constants), out, IOS17, np.float16)
    answer = evaluate(out, {"x": np.ones((1, 4), np.float32)}, arithmetic="float16-storage")["y"]
    assert op_types(out) == ["cast", "layer_norm", "cast"]
    assert answer.tolist() == [[0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("shape", "slope", "last"),
    [
        ((2, 4, 3), (1,), "leaky_relu"),
        ((2, 4, 3, 3), (4, 1, 1), "prelu"),
        ((2, 4, 3), (4, 1), "add"),  # MIL's prelu knows images only
        ((2, 4, 3), (1, 1, 3), "add"),
        ((2, 4), (2, 4), "add"),
    ],
)
def test_prelu_takes_any_slope(shape: tuple[int, ...], slope: tuple[int, ...], last: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    s, x = rng.uniform(0.1, 0.9, slope).astype(np.float32), rng.standard_normal(shape).astype(np.float32)
    kind = f"float[{','.join(map(str, shape))}]"
    out = tmp_path / "m.mlpackage"
    convert(saved(tmp_path, f"g ({kind} x) => ({kind} y) {{ y = PRelu (x, s) }}", {"s": s}), out, IOS17, np.float32)
    assert op_types(out)[-1] == last
    np.testing.assert_allclose(evaluate(out, {"x": x})["y"], np.where(x < 0, s * x, x), rtol=1e-6)


@pytest.mark.parametrize(("kind", "zero"), [(np.int16, 5), (np.uint16, 40000)])
def test_codes_of_16_bits_are_computed(kind: type[np.integer[Any]], zero: int, tmp_path: Path) -> None:
    graph = """g (float[2,8] x) => (float[2,8] y) {
        q = QuantizeLinear (x, s, z) y = DequantizeLinear (q, s, z)
    }"""
    path = saved(tmp_path, graph, {"s": np.array(0.001, np.float32), "z": np.array(zero, kind)})
    convert(path, tmp_path / "m.mlpackage", IOS17, np.float32)
    x = np.random.default_rng(0).normal(0, 30, (2, 8)).astype(np.float32)
    limits = np.iinfo(kind)
    codes = np.clip(np.rint(x / np.float32(0.001)) + zero, limits.min, limits.max)
    assert len(set(codes.ravel().tolist())) > 5
    wanted = (codes - zero).astype(np.float32) * np.float32(0.001)
    assert np.array_equal(MilSession(tmp_path / "m.mlpackage", arithmetic="float32").run({"x": x})["y"], wanted)
