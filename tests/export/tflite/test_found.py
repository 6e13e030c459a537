"""Small graphs that once were answered wrongly, or refused without need, by one runtime or all."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, helper
from onnx.reference import ReferenceEvaluator

from edgewright.errors import BadInput
from edgewright.export.onnx.simplify import simplify
from edgewright.export.tflite.convert import Converted, TfliteOptions, convert

Arrays = dict[str, NDArray[Any]]
Answer = Callable[[bytes, Mapping[str, NDArray[Any]], str], Arrays]
GraphOf = Callable[..., ModelProto]

RUNTIMES = ("xnnpack", "builtin", "legacy")
ABSOLUTE = 2e-5
CODES = {name: np.float32(scale) for name, scale in (("in_scale", 0.05), ("w_scale", 0.01), ("out_scale", 0.02))}
CODES |= {"in_zero": np.int8(3), "out_zero": np.int8(-20), "w_zero": np.int8(0)}


def answers(model: ModelProto, run: Answer, runtimes: tuple[str, ...] = RUNTIMES) -> tuple[Converted, float]:
    """The file, and how far its answers are from those of onnx's reference evaluator at most."""
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.input}
    generator = np.random.default_rng(0)
    inputs = {name: generator.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    wanted = ReferenceEvaluator(model).run(None, inputs)
    converted = convert(ir.from_proto(model))
    worst = 0.0
    for runtime in runtimes:
        given = run(converted.content, inputs, runtime)
        for value, array in zip(model.graph.output, wanted, strict=True):
            assert given[value.name].shape == np.shape(array), runtime
            worst = max(worst, float(np.abs(given[value.name] - array).max()))
    return converted, worst


def weights(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32) / 4


def pair(x: str, y: str, grid: str) -> list[Any]:
    """x → Q → DQ → y."""
    parameters = [f"{grid}_scale", f"{grid}_zero"]
    quantize = helper.make_node("QuantizeLinear", [x, *parameters], [f"{y}_codes"])
    return [quantize, helper.make_node("DequantizeLinear", [f"{y}_codes", *parameters], [y])]


def test_gather_of_one_position_drops_the_axis(graph_of: GraphOf, run: Answer) -> None:
    nodes = [
        helper.make_node("Gather", ["x", "two"], ["row"], axis=2),
        helper.make_node("Transpose", ["row"], ["y"], perm=[0, 2, 1]),
    ]
    model = graph_of(nodes, {"x": (1, 3, 4, 5)}, {"y": (1, 5, 3)}, {"two": np.array(2, np.int64)})
    assert answers(model, run)[1] <= ABSOLUTE


def test_one_slope_serves_all_channels(graph_of: GraphOf, run: Answer) -> None:
    for shape in ((), (1,), (1, 1)):
        node = helper.make_node("PRelu", ["x", "slope"], ["y"])
        model = graph_of([node], {"x": (1, 3, 6)}, {"y": (1, 3, 6)}, {"slope": np.full(shape, 0.25, np.float32)})
        assert answers(model, run)[1] <= ABSOLUTE


def test_windows_that_end_before_the_tensor(graph_of: GraphOf, run: Answer) -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[0, 1, 0, 1], strides=[3, 1])
    model = graph_of([node], {"x": (1, 2, 11, 12)}, {"y": (1, 4, 4, 12)}, {"w": weights(4, 2, 1, 3)})
    assert answers(model, run)[1] <= ABSOLUTE


@pytest.mark.parametrize("joining", ["Concat", "Slice", "Split"])
def test_flattened_images_that_are_joined_or_cut(joining: str, graph_of: GraphOf, run: Answer) -> None:
    joined = {"Concat": (["f", "f"], 48), "Slice": (["f", "two", "ten", "one"], 8), "Split": (["f"], 8)}
    inputs, width = joined[joining]
    outputs = ["j", "j2", "j3"] if joining == "Split" else ["j"]
    attributes = {"Concat": {"axis": 1}, "Split": {"axis": 1, "num_outputs": 3}}.get(joining, {})
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Flatten", ["c"], ["f"]),
        helper.make_node(joining, inputs, outputs, **attributes),
        helper.make_node("Gemm", ["j", "v"], ["y"]),
    ]
    constants = {"w": weights(2, 2, 2, 2), "v": weights(width, 3)}
    constants |= {name: np.array([n]) for name, n in (("two", 2), ("ten", 10), ("one", 1)) if name in inputs}
    model = graph_of(nodes, {"x": (1, 2, 4, 5)}, {"y": (1, 3)}, constants)
    assert answers(model, run)[1] <= ABSOLUTE


def test_a_transposed_tensor_times_itself(graph_of: GraphOf, run: Answer) -> None:
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 2, 3, 1]),
        helper.make_node("MatMul", ["t", "t"], ["m"]),
        helper.make_node("Exp", ["m"], ["y"]),
    ]
    model = graph_of(nodes, {"x": (1, 4, 3, 4)}, {"y": (1, 3, 4, 4)})
    converted = convert(ir.from_proto(model))
    x = np.random.default_rng(0).standard_normal((1, 4, 3, 4)).astype(np.float32)
    (wanted,) = ReferenceEvaluator(model).run(None, {"x": x})
    for runtime in RUNTIMES:
        assert np.allclose(run(converted.content, {"x": x}, runtime)["y"], wanted, rtol=1e-5)


def test_int8_bounds_on_another_grid_are_rescaled_first(graph_of: GraphOf, run: Answer) -> None:
    nodes = [
        *pair("x", "a", "in"),
        helper.make_node("Clip", ["a", "low", "high"], ["b"]),
        *pair("b", "y", "out"),
    ]
    constants = {**{k: v for k, v in CODES.items() if not k.startswith("w")}, "low": np.float32(-0.5)}
    constants["high"] = np.float32(0.9)
    model = graph_of(nodes, {"x": (1, 3, 6)}, {"y": (1, 3, 6)}, {k: np.array(v) for k, v in constants.items()})
    converted, worst = answers(model, run)
    assert [op.code for op in converted.ops] == ["QUANTIZE", "QUANTIZE", "MAXIMUM", "MINIMUM", "DEQUANTIZE"]
    assert worst <= 0.02 + 1e-6  # a step


def test_a_matrix_product_before_an_activation_stays_int8(graph_of: GraphOf, run: Answer) -> None:
    nodes = [
        *pair("x", "a", "in"),
        helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["v"]),
        helper.make_node("MatMul", ["a", "v"], ["m"]),
        helper.make_node("Relu", ["m"], ["r"]),
        *pair("r", "y", "out"),  # its grid reaches below zero, so the Relu is not implied
    ]
    codes = np.random.default_rng(2).integers(-40, 40, (6, 5)).astype(np.int8)
    model = graph_of(
        nodes, {"x": (1, 4, 6)}, {"y": (1, 4, 5)}, {k: np.array(v) for k, v in CODES.items()} | {"w": codes}
    )
    converted, worst = answers(model, run)
    assert [op.code for op in converted.ops] == ["QUANTIZE", "FULLY_CONNECTED", "RELU", "DEQUANTIZE"]
    assert converted.notes["heavy_int8_share"] == 1.0
    assert worst <= 0.02 + 1e-6


def test_windows_of_unequal_counts_are_averaged_in_float(graph_of: GraphOf, run: Answer) -> None:
    nodes = [
        *pair("x", "a", "in"),
        helper.make_node("AveragePool", ["a"], ["b"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]),
        *pair("b", "c", "in"),
        helper.make_node("Relu", ["c"], ["d"]),
        *pair("d", "y", "in"),
    ]
    constants = {name: np.array(CODES[name]) for name in ("in_scale", "in_zero")}
    model = graph_of(nodes, {"x": (1, 2, 8, 8)}, {"y": (1, 2, 4, 4)}, constants)
    converted, worst = answers(model, run)
    assert converted.notes["float_ops"] == ["AveragePool_2 (AveragePool)"]
    assert worst <= 0.05 + 1e-6


@pytest.mark.parametrize("shape", [(3, 4), (1, 2, 1, 3, 1, 2)])
def test_nothing_is_written_over_while_it_is_read(shape: tuple[int, ...], graph_of: GraphOf, run: Answer) -> None:
    """LiteRT's planner lets the sum take the memory of the product, the RESHAPE that of the sum, and Mul that of it."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Add", ["a", "x"], ["b"]),
        helper.make_node("Reshape", ["b", "shape"], ["c"]),
        helper.make_node("Mul", ["c", "c2"], ["d"]),
        helper.make_node("Sigmoid", ["d"], ["y"]),
        helper.make_node("Sigmoid", ["b"], ["z"]),
    ]
    constants = {"w": weights(6, 6), "shape": np.array(shape), "c2": weights(*shape)}
    model = graph_of(nodes, {"x": (2, 6)}, {"y": shape, "z": (2, 6)}, constants)
    converted, worst = answers(model, run)
    assert [op.code for op in converted.ops].count("SLICE") == 1
    assert worst <= ABSOLUTE


@pytest.mark.parametrize("rank", [5, 6])
def test_one_number_meets_many_axes(rank: int, graph_of: GraphOf, run: Answer) -> None:
    """tflite-runtime 2.14 ends the process where such a kernel broadcasts along more than four axes."""
    shape = (1, 2, 1, 3, 2, 2)[:rank]
    nodes = [
        helper.make_node("Clip", ["x", "low", "high"], ["a"]),
        helper.make_node("HardSigmoid", ["a"], ["b"]),
        helper.make_node("Asin", ["b"], ["c"]),
        helper.make_node("Reciprocal", ["x"], ["e"]),
        helper.make_node("IsInf", ["e"], ["f"]),
        helper.make_node("Where", ["f", "x", "c"], ["y"]),
    ]
    constants = {"low": np.array(-0.5, np.float32), "high": np.array(0.9, np.float32)}
    converted, worst = answers(graph_of(nodes, {"x": shape}, {"y": shape}, constants), run)
    shapes = [{len(t.shape) for t in op.inputs if t is not None} for op in converted.ops if op.code != "RESHAPE"]
    assert all(max(each) <= 4 for each in shapes if len(each) > 1)
    assert worst <= ABSOLUTE


def test_a_group_norm_inside_a_graph_has_a_shape(graph_of: GraphOf, run: Answer) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("GroupNormalization", ["a", "scale", "shift"], ["b"], num_groups=2),
        helper.make_node("GroupNormalization", ["b", "scale", "shift"], ["c"], num_groups=1),
        helper.make_node("Relu", ["c"], ["y"]),
    ]
    model = graph_of(nodes, {"x": (1, 4, 3, 5)}, {"y": (1, 4, 3, 5)}, {"scale": weights(4), "shift": weights(4)})
    wanted = ReferenceEvaluator(model).run(None, {"x": (x := weights(1, 4, 3, 5))})[0]
    simplified, _ = simplify(ir.from_proto(model))
    content = convert(simplified).content
    for runtime in RUNTIMES:
        assert np.allclose(run(content, {"x": x}, runtime)["y"], wanted, atol=ABSOLUTE)


@pytest.mark.parametrize("op", ["Min", "Max"])
def test_the_least_of_one(op: str, graph_of: GraphOf) -> None:
    nodes = [helper.make_node("Min", ["x"], ["a"]), helper.make_node(op, ["a"], ["y"])]
    simplified, _ = simplify(ir.from_proto(graph_of(nodes, {"x": (2, 3)}, {"y": (2, 3)})))
    assert len(convert(simplified).ops) <= 1


def test_options_are_checked() -> None:
    with pytest.raises(BadInput, match=r"layout 'nwhc': did you mean 'nhwc'"):
        TfliteOptions("nwhc")  # type: ignore[arg-type]
