"""Elementwise operators and products in LiteRT: every rank, element type and broadcast, with and without XNNPACK."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgewright.errors import UnsupportedOps
from edgewright.export.onnx.passes.upgrade import upgrade_opset
from edgewright.export.tflite.convert import Converted, convert

Arrays = dict[str, NDArray[Any]]
Answer = Callable[[bytes, Mapping[str, NDArray[Any]], str], Arrays]

FLOATS = ("float32",)
WHOLE = ("int32", "int64", "int8", "uint8")
SHAPES = (
    ((), ()),
    ((3,), ()),
    ((2, 3), (2, 1)),
    ((2, 1, 3, 1), (1, 4, 1, 2)),
    ((0, 3), (3,)),
    ((2, 3, 2, 1, 2), (3, 1, 1, 1)),
    ((2, 1, 2, 1, 2), (1, 3, 1, 3, 1)),
    ((2, 1, 2, 1, 2, 1), (1, 2, 1, 2, 1, 2)),
    ((1, 2, 1, 2, 1, 2, 1),) * 2,
)


def model_of(node: onnx.NodeProto, inputs: Arrays, kind: int, constants: Arrays, opset: int = 21) -> onnx.ModelProto:
    graph = helper.make_graph(
        [node],
        "graph",
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for n, a in inputs.items()
        ],
        [helper.make_tensor_value_info("y", kind, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model)


def kind_of(dtype: str) -> int:
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def array_of(random: np.random.Generator, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """No zeros: they also divide."""
    low, high = (1, 12) if dtype == "uint8" else (-12, 12)
    values = np.asarray(random.integers(low, high, shape))
    return np.asarray(np.where(values == 0, 1, values) * (0.75 if dtype == "float32" else 1), dtype)


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def check(run: Answer) -> Callable[..., Converted]:
    """Converts one node and compares both resolvers with onnx's reference evaluator."""

    def convert_and_compare(
        node: onnx.NodeProto,
        inputs: Arrays,
        dtype: str,
        constants: Arrays | None = None,
        opset: int = 21,
        atol: float = 1e-6,
    ) -> Converted:
        model = model_of(node, inputs, kind_of(dtype), constants or {}, opset)
        wanted = ReferenceEvaluator(model).run(None, inputs)[0]
        lowered = ir.from_proto(model)
        upgrade_opset(lowered)
        converted = convert(lowered)
        for runtime in ("xnnpack", "builtin"):
            given = run(converted.content, inputs, runtime)["y"]
            assert given.dtype == wanted.dtype
            np.testing.assert_allclose(given, wanted, rtol=1e-5, atol=atol, err_msg=runtime)
        return converted

    return convert_and_compare


OPERATORS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "Add": ((*FLOATS, *WHOLE), {}),
    "Div": ((*FLOATS, *WHOLE), {}),
    "Max": ((*FLOATS, *WHOLE), {}),
    "Mod": (WHOLE, {}),
    "Mod fmod": ((*FLOATS, *WHOLE), {"fmod": 1}),
    "LessOrEqual": ((*FLOATS, *WHOLE), {}),
    "Equal": ((*FLOATS, *WHOLE), {}),
    "BitwiseAnd": (WHOLE, {}),
    "BitwiseOr": (WHOLE, {}),
    "BitwiseXor": (WHOLE, {}),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_all_ranks_and_types_broadcast(name: str, check: Callable[..., Converted], random: np.random.Generator) -> None:
    dtypes, given = OPERATORS[name]
    op = name.split()[0]
    node = helper.make_node(op, ["a", "b"], ["y"], **given)
    for dtype in dtypes:
        for first, second in SHAPES if dtype in ("float32", "int32") else SHAPES[3:7:3]:
            a, b = array_of(random, first, dtype), array_of(random, second, dtype)
            if op == "Div":  # onnx cuts towards 0, its evaluator rounds down
                a, b = abs(a), abs(b)
            made = "bool" if op in ("LessOrEqual", "Equal") else dtype
            check(node, {"a": a, "b": b}, made)
            check(node, {"a": a}, made, {"b": b})


@pytest.mark.parametrize("first", [(3,), (2, 3), (2, 1, 2, 3), (2, 1, 2, 2, 2, 3)], ids=str)
@pytest.mark.parametrize("second", [(3,), (3, 4), (2, 3, 4), (1, 2, 1, 2, 3, 4)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "int32", "int64"])
def test_products_of_all_ranks(
    first: tuple[int, ...],
    second: tuple[int, ...],
    dtype: str,
    check: Callable[..., Converted],
    random: np.random.Generator,
) -> None:
    node = helper.make_node("MatMul", ["a", "b"], ["y"])
    a, b = array_of(random, first, dtype), array_of(random, second, dtype)
    check(node, {"a": a, "b": b}, dtype)
    check(node, {"a": a}, dtype, {"b": b})


@pytest.mark.parametrize("direction", ["LEFT", "RIGHT"])
@pytest.mark.parametrize("dtype", [*WHOLE])
def test_shifts_beyond_the_width(direction: str, dtype: str, run: Answer) -> None:
    limits = np.iinfo(dtype)
    x = np.array([limits.max, limits.min, 1, 77, 77, 0], dtype)
    shift = np.array([1, 3, 0, limits.bits - 1, limits.bits, 2], dtype)
    model = model_of(
        helper.make_node("BitShift", ["a", "b"], ["y"], direction=direction),
        {"a": x, "b": shift},
        kind_of(dtype),
        {},
        28,
    )
    wide = [int(n) << int(s) if direction == "LEFT" else int(n) >> int(s) for n, s in zip(x, shift)]
    wanted = np.array([n & ((1 << limits.bits) - 1) for n in wide], np.uint64).astype(dtype)
    if dtype == "int64" and direction == "RIGHT":
        x, wanted = x[2:], wanted[2:]  # quotients are computed in 32 bits
        shift = shift[2:]
        model = model_of(model.graph.node[0], {"a": x, "b": shift}, kind_of(dtype), {}, 28)
    lowered = ir.from_proto(model)
    upgrade_opset(lowered)
    content = convert(lowered).content
    for runtime in ("xnnpack", "builtin"):
        np.testing.assert_array_equal(run(content, {"a": x, "b": shift}, runtime)["y"], wanted)


@pytest.mark.parametrize("dtype", ["float32", *WHOLE])
def test_clip_by_constants_and_by_computed_bounds(dtype: str, check: Callable[..., Converted]) -> None:
    node = helper.make_node("Clip", ["x", "low", "high"], ["y"])
    x, bounds = np.arange(12).astype(dtype), {"low": np.array(0, dtype), "high": np.array(6, dtype)}
    ops = check(node, {"x": x}, dtype, bounds).notes["ops"]
    assert ops == {"RELU6": 1} if dtype == "float32" else ops["MAXIMUM"] == 1
    check(node, {"x": x, **bounds}, dtype)
    check(helper.make_node("Clip", ["x", "", "high"], ["y"]), {"x": x, "high": bounds["high"]}, dtype)


def test_a_sum_may_add_one_tensor_twice(check: Callable[..., Converted]) -> None:
    inputs = {"a": np.ones((2, 3), np.float32), "b": np.arange(3, dtype=np.float32)}
    check(helper.make_node("Sum", ["a", "b", "b"], ["y"]), inputs, "float32")


@pytest.mark.parametrize("op", ["Asin", "Acos", "Atan"])
def test_inverse_functions_of_the_circle(op: str, check: Callable[..., Converted]) -> None:
    x = np.linspace(-1, 1, 101, dtype=np.float32)
    assert check(helper.make_node(op, ["x"], ["y"]), {"x": x}, "float32").notes["ops"]["ATAN2"] == 1


def test_powers_of_whole_numbers(check: Callable[..., Converted]) -> None:
    x = np.array([-3, 0, 2, 7], np.int64)
    node = helper.make_node("Pow", ["x", "n"], ["y"])
    ops = check(node, {"x": x}, "int64", {"n": np.array(5.0, np.float32)}).notes["ops"]
    assert ops == {"MUL": 3}
    check(node, {"x": x.astype(np.float32)}, "float32", {"n": np.array(2, np.int64)})
    with pytest.raises(UnsupportedOps, match="cast the base to float32"):
        check(node, {"x": x, "n": np.array(0.5, np.float32)}, "int64")


def test_quantization_with_computed_and_blocked_scales(check: Callable[..., Converted]) -> None:
    x = np.array([[-3, 0.25, 0.75, 9]], np.float32)
    quantize = helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"])
    check(quantize, {"x": x, "s": np.array(0.5, np.float32), "z": np.array(2, np.uint8)}, "uint8")
    codes, scales = np.arange(8, dtype=np.uint8).reshape(1, 8), np.array([[0.5, 2]], np.float32)
    blocks = helper.make_node("DequantizeLinear", ["x", "s", "z"], ["y"], axis=1, block_size=4)
    check(blocks, {"x": codes}, "float32", {"s": scales, "z": np.array([[1, 3]], np.uint8)})
    dynamic = helper.make_node("DynamicQuantizeLinear", ["x"], ["y", "scale", "zero"])
    check(dynamic, {"x": x}, "uint8")


def test_a_quantized_product_is_exact_or_an_int8_kernel(run: Answer, random: np.random.Generator) -> None:
    """uint8: to the step what onnxruntime computes; symmetric int8 weights: FULLY_CONNECTED in int8."""
    names = ["a", "as", "az", "b", "bs", "bz", "ys", "yz"]
    node = helper.make_node("QLinearMatMul", names, ["y"])
    for dtype, zero in (("uint8", 128), ("int8", 0)):
        limits = np.iinfo(dtype)
        a = random.integers(limits.min, limits.max + 1, (3, 300)).astype(dtype)
        constants = {
            "as": np.float32(0.02),
            "az": np.array(zero + 3, dtype),
            "bs": np.float32(0.01),
            "bz": np.array(zero, dtype),
            "ys": np.float32(0.11),
            "yz": np.array(zero - 5, dtype),
            "b": random.integers(limits.min + 1, limits.max + 1, (300, 4)).astype(dtype),
        }
        model = model_of(node, {"a": a}, kind_of(dtype), constants)
        wanted = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"a": a})[0]
        converted = convert(ir.from_proto(model))
        given = run(converted.content, {"a": a}, "builtin")["y"]
        steps = np.abs(given.astype(int) - wanted)
        assert steps.max() == 0 if dtype == "uint8" else steps.max() <= 1
        assert converted.notes["int8_ops"] == (0 if dtype == "uint8" else 1)


def test_attention_converts(check: Callable[..., Converted], random: np.random.Generator) -> None:
    x = random.normal(size=(2, 5, 8)).astype(np.float32)
    node = helper.make_node("Attention", ["x", "x", "x"], ["y"], is_causal=1, q_num_heads=2, kv_num_heads=2)
    ops = check(node, {"x": x}, "float32", opset=23).notes["ops"]
    assert ops["BATCH_MATMUL"] == 2 and ops["SOFTMAX"] == 1 and ops["SELECT_V2"] == 1


def test_a_large_constant_of_64_bits_is_refused() -> None:
    x = np.array([1, 2], np.int64)
    model = model_of(helper.make_node("Div", ["x", "d"], ["y"]), {"x": x}, 7, {"d": np.array(2**40)})
    with pytest.raises(UnsupportedOps, match="64-bit integers beyond 32 bits"):
        convert(ir.from_proto(model))


def test_what_reads_a_refused_result_hides_no_reason() -> None:
    """int16, which TFLite does not compute with here, between two casts."""
    text = """<ir_version: 10, opset_import: ["" : 21]>
        g (float[2,8] x) => (float[2,8] y) { q = Cast <to = 5> (x)  r = Neg (q)  y = Cast <to = 1> (r) }"""
    model = onnx.shape_inference.infer_shapes(onnx.parser.parse_model(text))
    with pytest.raises(UnsupportedOps) as caught:
        convert(ir.from_proto(model))
    assert {op: reason for op, (reason, _) in caught.value.missing.items()} == {"Cast": "element type INT16"}
