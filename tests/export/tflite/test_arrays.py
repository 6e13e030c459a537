"""Operators that cut, join, pick, write, reduce and search: each answers as onnx says, in every runtime."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper, parser
from onnx.reference import ReferenceEvaluator

from edgewright.errors import UnsupportedOps
from edgewright.export.tflite.convert import Converted, convert

Array = NDArray[Any]
Answer = Callable[[bytes, Mapping[str, Array], str], dict[str, Array]]

RUNTIMES = ("xnnpack", "builtin", "legacy")
SHAPES = {1: (5,), 2: (3, 4), 3: (2, 3, 4), 4: (2, 3, 4, 5), 5: (2, 3, 1, 4, 2), 6: (2, 3, 2, 1, 3, 2)}
KINDS = ("float32", "int32", "int64", "bool")
TOLERANCE = 2e-5


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


def data(shape: Sequence[int], kind: str = "float32", seed: int = 0) -> Array:
    drawn = np.random.default_rng(seed).integers(-9, 10, shape)
    return np.asarray(drawn > 0 if kind == "bool" else drawn / 2 if kind == "float32" else drawn, kind)


def model_of(
    op: str, inputs: Sequence[Array | None], constant: Sequence[int], outputs: int, **given: Any
) -> onnx.ModelProto:
    names = ["" if array is None else f"i{index}" for index, array in enumerate(inputs)]
    node = helper.make_node(op, names, [f"o{index}" for index in range(outputs)], name=op, **given)
    free = [(name, a) for k, (name, a) in enumerate(zip(names, inputs)) if a is not None and k not in constant]
    fixed = [(name, a) for k, (name, a) in enumerate(zip(names, inputs)) if a is not None and k in constant]
    graph = helper.make_graph(
        [node],
        "graph",
        [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in free],
        [onnx.ValueInfoProto(name=f"o{index}") for index in range(outputs)],
        [numpy_helper.from_array(array, name) for name, array in fixed],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@pytest.fixture
def check(run: Answer) -> Callable[..., Converted]:
    def answers_alike(
        op: str, *inputs: Array | None, constant: Sequence[int] = (), outputs: int = 1, ort: bool = False, **given: Any
    ) -> Converted:
        """Compares with onnx's reference evaluator or, where that lacks the case, with onnxruntime."""
        model = model_of(op, inputs, constant, outputs, **given)
        feed = {f"i{k}": a for k, a in enumerate(inputs) if a is not None and k not in constant}
        evaluate = onnxruntime.InferenceSession(model.SerializeToString()).run if ort else ReferenceEvaluator(model).run
        wanted = [np.asarray(array) for array in evaluate(None, feed)]
        converted = convert(_typed(model, wanted))
        for runtime in RUNTIMES:
            given_answers = run(converted.content, feed, runtime)
            for index, array in enumerate(wanted):
                answer = given_answers[f"o{index}"]
                assert (answer.shape, answer.dtype) == (array.shape, array.dtype), runtime
                np.testing.assert_allclose(answer, array, TOLERANCE, TOLERANCE, err_msg=runtime)
        return converted

    return answers_alike


def _typed(model: onnx.ModelProto, outputs: Sequence[Array]) -> ir.Model:
    infos = [(f"o{k}", helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for k, a in enumerate(outputs)]
    del model.graph.output[:]
    model.graph.output.extend(helper.make_tensor_value_info(*info) for info in infos)
    return ir.from_proto(model)


def codes(converted: Converted) -> list[str]:
    return [op.code for op in converted.ops]


@pytest.mark.parametrize("rank", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_what_moves_elements(check: Callable[..., Converted], kind: str, rank: int) -> None:
    x, last = data(SHAPES[rank], kind), rank - 1
    check("Transpose", x, perm=np.random.default_rng(rank).permutation(rank).tolist())
    check("Slice", x, ints(-1), ints(-9), ints(last), ints(-2), constant=(1, 2, 3, 4))
    check("Slice", x, ints(1, 0), ints(9, 2), ints(0, last), constant=(1, 2, 3)) if rank > 1 else None
    check("Gather", x, np.array(-1), constant=(1,), axis=last)
    check("Gather", x, ints(1, -2, 0), axis=0)
    check("Tile", x, ints(*[2] * rank), constant=(1,))
    check("Concat", x, x, axis=last)
    check("Split", x, ints(1, len(x) - 1), constant=(1,), outputs=2)
    check("Expand", x[:1], ints(*x.shape), constant=(1,))
    check("Pad", x, ints(*[1, 2] * rank), constant=(1,))
    check("Pad", x, ints(3, 1), None, ints(0), constant=(1, 3), mode="edge")


def test_axes_beyond_what_kernels_move_go_one_by_one(check: Callable[..., Converted]) -> None:
    shape = (2, 3, 2, 2, 3, 2, 2, 2)
    converted = check("Transpose", data(shape), perm=[7, 1, 5, 3, 6, 4, 2, 0])
    assert codes(converted).count("TRANSPOSE") > 1
    window = check("Transpose", data((1, 2, 4, 2, 4, 3)), perm=[0, 1, 3, 2, 4, 5])
    assert [op.version for op in window.ops if op.code == "TRANSPOSE"] == [1]  # four axes once joined


@pytest.mark.parametrize("computed", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_picked_elements(check: Callable[..., Converted], kind: str, computed: bool) -> None:
    constant, rng = (() if computed else (1,)), np.random.default_rng(0)
    for rank, shape in SHAPES.items():
        axis = rank // 2
        x, length = data(shape, kind), shape[axis]
        smaller = [max(1, n - 1) for n in shape]
        check("GatherElements", x, rng.integers(-length, length, smaller), constant=constant, axis=axis, ort=True)
        points = np.stack([rng.integers(-n, n, (2, 3)) for n in shape[: axis + 1]], axis=-1)
        check("GatherND", x, points, constant=constant)
    batched = rng.integers(-3, 3, (2, 5, 1))
    check("GatherND", data(SHAPES[4], kind), batched, constant=constant, batch_dims=1)


@pytest.mark.parametrize("computed", [False, True])
@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
@pytest.mark.parametrize("kind", ["float32", "int32", "int64"])
def test_written_elements(check: Callable[..., Converted], kind: str, reduction: str, computed: bool) -> None:
    constant, rng = (() if computed else (1,)), np.random.default_rng(1)
    for rank, shape in SHAPES.items():
        x, axis = data(shape, kind), rank - 1
        indices = np.argsort(rng.random(shape), axis=axis) if reduction == "none" else rng.integers(-1, 1, shape)
        updates = data(shape, kind, seed=2)
        check("ScatterElements", x, indices, updates, constant=constant, axis=axis, reduction=reduction)
        points = ints(*([0] * rank), *([-1] * rank)).reshape(2, rank)[:, : axis or 1]
        rows = data((2, *shape[points.shape[1] :]), kind, seed=3)
        check("ScatterND", x, points, rows, constant=constant, reduction=reduction)


def test_constant_writes_move_whole_rows(check: Callable[..., Converted]) -> None:
    converted = check(
        "ScatterND", data((4, 3), "bool"), ints(2, 0).reshape(2, 1), data((2, 3), "bool", 5), constant=(1,)
    )
    assert codes(converted) == ["CONCATENATION", "GATHER"]


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "wrap"])
def test_pads(check: Callable[..., Converted], mode: str) -> None:
    for rank, shape in SHAPES.items():
        widths = [min(2, n - 1) if mode == "reflect" else 2 for n in shape]
        filled = (np.array(-7, np.int32),) if mode == "constant" else ()
        check("Pad", data(shape, "int32"), ints(*widths, *widths), *filled, constant=(1, 2), mode=mode)
        if rank > 1:  # onnx's own evaluator cuts nothing
            cut = ints(*[-1] * (rank - 1), 1, *[0] * (rank - 1), 1)
            cut[: rank - 1] *= np.array(shape[:-1]) > 1
            check("Pad", data(shape), cut, constant=(1,), mode="constant" if mode == "wrap" else mode, ort=True)
    check("Pad", data((2, 3)), ints(1, 1, 0, 0), np.array(2.5, np.float32), constant=(1,))


REDUCTIONS = ("ReduceMean", "ReduceSum", "ReduceProd", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceSumSquare")
FLOAT_REDUCTIONS = ("ReduceL2", "ReduceLogSum", "ReduceLogSumExp")


@pytest.mark.parametrize("op", [*REDUCTIONS, *FLOAT_REDUCTIONS])
def test_reductions(check: Callable[..., Converted], op: str) -> None:
    for rank, shape in list(SHAPES.items())[: 5 if op == "ReduceLogSumExp" else 6]:  # six: no Clip in old runtimes
        x = np.abs(data(shape)) + 0.5 if op == "ReduceLogSum" else data(shape)
        check(op, x.astype(np.float32), keepdims=0)
        check(op, x.astype(np.float32), ints(rank - 1, *range(rank // 2)), constant=(1,), keepdims=rank % 2)
        check(op, x.astype(np.float32), ints(), constant=(1,), noop_with_empty_axes=1)
        if op in REDUCTIONS:
            check(op, data(shape, "int32"), ints(-1), constant=(1,), ort=True)


def test_reductions_of_booleans_and_of_nothing(check: Callable[..., Converted]) -> None:
    for op, code in {"ReduceMax": "REDUCE_ANY", "ReduceMin": "REDUCE_ALL"}.items():
        assert codes(check(op, data((3, 4), "bool"), ints(1), constant=(1,))) == [code]
        check(op, np.zeros((2, 0), np.float32), ints(1), constant=(1,))
        check(op, np.zeros((2, 0), np.bool_), ints(1), constant=(1,))
    for op in ("ReduceSum", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp"):
        check(op, np.zeros((2, 0, 3), np.float32), ints(1), constant=(1,), keepdims=0)


def test_log_sum_exp_neither_overflows_nor_vanishes(run: Answer) -> None:
    x = np.array([[1e4, 1e4], [-1e4, -1e4], [-np.inf, -np.inf], [np.inf, 0], [-np.inf, 3]], np.float32)
    content = convert(_typed(model_of("ReduceLogSumExp", [x, ints(1)], (1,), 1), [x[:, :1]])).content
    wanted = np.logaddexp(x[:, :1].astype(np.float64), x[:, 1:])
    for runtime in RUNTIMES:
        np.testing.assert_allclose(run(content, {"i0": x}, runtime)["o0"], wanted, rtol=1e-6)


@pytest.mark.parametrize("kind", ["float32", "int32", "int64"])
def test_searches(check: Callable[..., Converted], kind: str) -> None:
    for rank, shape in SHAPES.items():
        x, axis = np.round(data(shape, kind) / 3).astype(kind), rank // 2  # many are equal
        for op in ("ArgMax", "ArgMin"):
            for last in (0, 1):
                check(op, x, axis=axis, keepdims=last, select_last_index=last)
        for largest in (0, 1):
            check("TopK", x, ints(min(2, shape[axis])), constant=(1,), outputs=2, axis=axis, largest=largest, ort=True)
        check("CumSum", x, np.array(axis), constant=(1,), exclusive=rank % 2, reverse=rank // 2 % 2)
        check("OneHot", x, np.array(4), np.array([5, -2], kind), constant=(1,), axis=axis)
        if kind == "float32":
            check("Hardmax", x, axis=axis)


def test_the_smallest_integers_are_found(check: Callable[..., Converted]) -> None:
    x = np.array([3, np.iinfo(np.int32).min, np.iinfo(np.int32).max, -1], np.int32)
    check("TopK", x, ints(2), constant=(1,), outputs=2, largest=0, ort=True)


def test_masks_and_sequences(check: Callable[..., Converted]) -> None:
    for kind in KINDS:
        x = data((2, 3, 4), kind)
        for upper in (0, 1):
            check("Trilu", x, np.array(-1), constant=(1,), upper=upper)
            check("Trilu", x, np.array(1), upper=upper)
        check("Compress", x, np.array([True, False, True]), constant=(1,), axis=1)
        check("Compress", x, np.array([False, True, True]), constant=(1,))
        if kind != "bool":
            check("ReverseSequence", x, ints(2, 1, 2), time_axis=0, batch_axis=1)


IN_A_CNN = {
    "g = Gather<axis = 1>(c, i) y = Conv(g, w)": ([0, -1, 2, 1], ["GATHER"]),
    "g = Tile(c, i) y = Conv(g, w)": ([1, 1, 2, 1], ["TILE"]),
    'g = Pad<mode = "wrap">(c, i) y = Conv(g, w)': ([0, 0, 1, 1, 0, 0, 1, 1], ["GATHER", "GATHER"]),
    "m = ReduceMean(c, a) g = Expand(m, i) y = Conv(g, w)": ([1, 4, 6, 6], ["MEAN", "BROADCAST_TO"]),
    "g, k = TopK<axis = 1>(c, i) y = Conv(g, w)": ([4], ["TOPK_V2"]),
    "g = Hardmax<axis = 1>(c) y = Conv(g, w)": ([0], ["ARG_MAX", "ONE_HOT"]),
    "g = CumSum(c, i) y = Conv(g, w)": ([1], ["CUMSUM"]),
    "y = ArgMax<axis = 1, keepdims = 0>(c)": ([0], ["ARG_MAX"]),
}


@pytest.mark.parametrize("body", IN_A_CNN)
def test_nothing_is_transposed_inside_a_cnn(body: str) -> None:
    indices, between = IN_A_CNN[body]
    made = "int64[1,6,6]" if "ArgMax" in body else f"float[1,4,{'O,P'}]"
    text = f"""<ir_version: 10, opset_import: ["": 21]>
        g (float[1,4,6,6] x, float[4,4,3,3] w) => ({made} y) {{ c = Conv<pads = [1,1,1,1]>(x, w) {body} }}"""
    model = parser.parse_model(text)
    del model.graph.input[1]
    constants = {"w": data((4, 4, 3, 3)), "i": ints(*indices), "a": ints(2, 3)}
    used = {name for node in model.graph.node for name in node.input}
    arrays = [numpy_helper.from_array(array, name) for name, array in constants.items() if name in used]
    model.graph.initializer.extend(arrays)
    if "ArgMax" not in body:
        model.graph.output[0].type.tensor_type.ClearField("shape")
    converted = convert(ir.from_proto(onnx.shape_inference.infer_shapes(model)), layout="nhwc")
    assert codes(converted) == ["CONV_2D", *between, *(["CONV_2D"] if "y = Conv" in body else [])]


def test_reasons() -> None:
    def refused(
        op: str, inputs: Sequence[Array], outputs: Sequence[Array], constant: Sequence[int] = (), **given: Any
    ) -> str:
        with pytest.raises(UnsupportedOps) as caught:
            convert(_typed(model_of(op, inputs, constant, len(outputs), **given), outputs))
        return caught.value.missing[op][0]

    x = data((4, 5))
    assert refused("Pad", [x, ints(1, 1, 1, 1)], [data((6, 7))]) == "pads must be constant"
    assert refused("ReduceSum", [x, ints(1)], [data((4, 1))]) == "axes must be constant"
    many = np.zeros((2000, 1), np.int64)
    wide = data((2000, 1))
    reason = refused("ScatterElements", [wide, many, wide], [wide], reduction="max")
    assert reason.startswith("reduction max of 2000 computed indices into 2000 rows")
    kept = [data((6,)), data((6,), "bool")]
    assert "depends on values" in refused("Compress", kept, [data((3,))])
    flags = data((2, 3), "bool")
    assert "bool" in refused("ReverseSequence", [flags, ints(1, 2, 1)], [flags])


@pytest.mark.parametrize(
    ("body", "shape", "constant", "wanted"),
    [
        ("Tile(d, i)", "4,6", ints(2, 2), ["TILE"]),
        ("Expand(d, i)", "2,2,3", ints(2, 2, 3), ["BROADCAST_TO"]),
        ("GatherElements(d, i)", "1,3", ints(1, 0, -1).reshape(1, 3), ["GATHER"]),
        ("GatherND(d, i)", "2,3", ints(1, -2).reshape(2, 1), ["GATHER"]),
        ("ReduceMin<keepdims = 0>(d, i)", "2", ints(1), ["REDUCE_MIN"]),
        ('Pad<mode = "reflect">(d, i)', "2,7", ints(0, 2, 0, 2), ["GATHER"]),
    ],
)
def test_codes_are_moved_as_they_are(run: Answer, body: str, shape: str, constant: Array, wanted: list[str]) -> None:
    text = f"""<ir_version: 10, opset_import: ["": 21]> g (int8[2,3] x) => (int8[{shape}] y)
        <float s = {{0.5}}, int8 z = {{3}}>
        {{ d = DequantizeLinear(x, s, z) e = {body} y = QuantizeLinear(e, s, z) }}"""
    model = parser.parse_model(text)
    model.graph.initializer.append(numpy_helper.from_array(constant, "i"))
    x = data((2, 3), "int8")
    expected = ReferenceEvaluator(model).run(None, {"x": x})[0]
    converted = convert(ir.from_proto(model))
    assert [code for code in codes(converted) if code != "RESHAPE"] == wanted
    for runtime in RUNTIMES:
        np.testing.assert_array_equal(run(converted.content, {"x": x}, runtime)["y"], expected)


def test_the_largest_is_found_among_codes(run: Answer) -> None:
    text = """<ir_version: 10, opset_import: ["": 21]> g (int8[2,3] x) => (int64[2] y)
        <float s = {0.5}, int8 z = {3}> { d = DequantizeLinear(x, s, z) y = ArgMax<axis = 1, keepdims = 0>(d) }"""
    converted = convert(ir.from_proto(parser.parse_model(text)))
    assert codes(converted) == ["ARG_MAX"]
    x = data((2, 3), "int8")
    for runtime in RUNTIMES:
        np.testing.assert_array_equal(run(converted.content, {"x": x}, runtime)["y"], x.argmax(axis=1))
