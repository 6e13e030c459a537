"""Where transposes stand: only where a rule needs another order, and as few elements as possible."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, helper
from onnx.reference import ReferenceEvaluator

from edgewright.export.tflite.convert import Converted, convert
from edgewright.export.tflite.layout import LAST, Form

Arrays = dict[str, NDArray[Any]]
Answer = Callable[[bytes, Mapping[str, NDArray[Any]], str], Arrays]
GraphOf = Callable[..., ModelProto]

RELATIVE, ABSOLUTE = 1e-5, 1e-5


@pytest.fixture
def check(run: Answer) -> Callable[[ModelProto], list[str]]:
    """Convert, compare with onnx's reference evaluator on seeded inputs, and give the operators of the file."""

    def convert_and_compare(model: ModelProto) -> list[str]:
        generator = np.random.default_rng(0)
        inputs = {
            value.name: generator.standard_normal([d.dim_value for d in value.type.tensor_type.shape.dim]).astype(
                np.float32
            )
            for value in model.graph.input
        }
        wanted = ReferenceEvaluator(model).run(None, inputs)
        converted: Converted = convert(ir.from_proto(model))
        for runtime in ("xnnpack", "builtin"):
            given = run(converted.content, inputs, runtime)
            for value, array in zip(model.graph.output, wanted, strict=True):
                assert given[value.name].shape == array.shape
                assert np.allclose(given[value.name], array, rtol=RELATIVE, atol=ABSOLUTE)
        return [op.code for op in converted.ops]

    return convert_and_compare


def weights(*shape: int, seed: int = 1) -> NDArray[np.float32]:
    return (np.random.default_rng(seed).standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


def conv(x: str, y: str, w: str = "w", **attributes: Any) -> Any:
    return helper.make_node("Conv", [x, w], [y], **{"pads": [1, 1, 1, 1], **attributes})


def test_elementwise_work_between_convolutions_follows_them(check: Any, graph_of: GraphOf) -> None:
    nodes = [
        conv("x", "a"),
        helper.make_node("Sigmoid", ["a"], ["s"]),
        helper.make_node("Mul", ["a", "s"], ["m"]),
        helper.make_node("Concat", ["m", "a"], ["c"], axis=1),
        helper.make_node("Mul", ["c", "scale"], ["d"]),
        helper.make_node("Softmax", ["d"], ["e"], axis=1),
        conv("e", "y", "w2"),
    ]
    constants = {"w": weights(4, 3, 3, 3), "w2": weights(2, 8, 3, 3), "scale": weights(8, 1, 1)}
    model = graph_of(nodes, {"x": (1, 3, 5, 6)}, {"y": (1, 2, 5, 6)}, constants)
    body = ["CONV_2D", "LOGISTIC", "MUL", "CONCATENATION", "MUL", "SOFTMAX", "CONV_2D"]
    assert check(model) == ["TRANSPOSE", *body, "TRANSPOSE"]


def test_a_residual_chain_has_no_inner_transpose(check: Any, graph_of: GraphOf) -> None:
    nodes = [
        conv("x", "a"),
        helper.make_node("Relu", ["a"], ["r"]),
        conv("r", "b", "w2"),
        helper.make_node("Add", ["b", "r"], ["s"]),
        helper.make_node("Relu", ["s"], ["t"]),
        helper.make_node("Pad", ["t", "pads"], ["p"]),
        helper.make_node("Slice", ["p", "starts", "ends", "axes"], ["q"]),
        helper.make_node("ReduceMean", ["q", "spatial"], ["y"], keepdims=0),
    ]
    constants = {"w": weights(4, 3, 3, 3), "w2": weights(4, 4, 3, 3)}
    ints = {"pads": [0, 0, 1, 2, 0, 0, 0, 1], "starts": [1, 1], "ends": [5, 7], "axes": [2, 3], "spatial": [2, 3]}
    constants |= {name: np.array(values, np.int64) for name, values in ints.items()}  # type: ignore[arg-type]
    model = graph_of(nodes, {"x": (2, 3, 5, 6)}, {"y": (2, 4)}, constants)
    assert check(model) == ["TRANSPOSE", "CONV_2D", "CONV_2D", "ADD", "PAD", "SLICE", "MEAN"]


def test_no_transpose_where_no_rule_asks_for_one(check: Any, graph_of: GraphOf) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Add", ["a", "x"], ["b"]),
        helper.make_node("Softmax", ["b"], ["y"], axis=-1),
    ]
    model = graph_of(nodes, {"x": (1, 7, 8)}, {"y": (1, 7, 8)}, {"w": weights(8, 8)})
    assert check(model) == ["FULLY_CONNECTED", "ADD", "SOFTMAX"]


def test_one_spatial_axis_stays_four_dimensional_inside(check: Any, graph_of: GraphOf) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[2, 2], strides=[2]),
        helper.make_node("LeakyRelu", ["a"], ["b"], alpha=0.2),
        helper.make_node("Conv", ["b", "w2"], ["c"], group=4),
        helper.make_node("Add", ["c", "bias"], ["d"]),
        helper.make_node("AveragePool", ["d"], ["y"], kernel_shape=[2], strides=[2]),
    ]
    constants = {"w": weights(4, 3, 5), "w2": weights(4, 1, 3), "bias": weights(4, 1)}
    model = graph_of(nodes, {"x": (1, 3, 21)}, {"y": (1, 4, 4)}, constants)
    body = ["CONV_2D", "LEAKY_RELU", "DEPTHWISE_CONV_2D", "ADD", "AVERAGE_POOL_2D"]
    assert check(model) == ["TRANSPOSE", "RESHAPE", *body, "RESHAPE", "TRANSPOSE"]


@pytest.mark.parametrize("between", ["", "Relu"])
def test_flatten_permutes_the_weights_instead_of_the_tensor(check: Any, graph_of: GraphOf, between: str) -> None:
    nodes = [conv("x", "a"), helper.make_node("Flatten", ["a"], ["f"])]
    nodes += [helper.make_node(between, ["f"], ["r"])] if between else []
    nodes.append(helper.make_node("Gemm", ["r" if between else "f", "w2", "c"], ["y"], transB=1))
    constants = {"w": weights(4, 3, 3, 3), "w2": weights(5, 120), "c": weights(5)}
    model = graph_of(nodes, {"x": (1, 3, 5, 6)}, {"y": (1, 5)}, constants)
    inner = ["RESHAPE", "RELU"] if between else []  # the product itself reads any shape as rows
    assert check(model) == ["TRANSPOSE", "CONV_2D", *inner, "FULLY_CONNECTED"]


def test_flatten_before_a_product_with_a_computed_bias(check: Any, graph_of: GraphOf) -> None:
    nodes = [
        conv("x", "a"),
        helper.make_node("Flatten", ["a"], ["f"]),
        helper.make_node("Gemm", ["f", "w2", "z"], ["g"], transB=1, alpha=0.5, beta=2.0),
        helper.make_node("Relu", ["g"], ["y"]),
    ]
    constants = {"w": weights(4, 3, 3, 3), "w2": weights(5, 120)}
    model = graph_of(nodes, {"x": (1, 3, 5, 6), "z": (1, 5)}, {"y": (1, 5)}, constants)
    body = ["CONV_2D", "FULLY_CONNECTED", "MUL", "MUL", "ADD"]
    assert check(model) == ["TRANSPOSE", *body]


def test_an_activation_after_two_computed_matrices(check: Any, graph_of: GraphOf) -> None:
    nodes = [helper.make_node("Gemm", ["x", "z"], ["g"], transA=1), helper.make_node("Relu", ["g"], ["y"])]
    model = graph_of(nodes, {"x": (4, 3), "z": (4, 5)}, {"y": (3, 5)})
    assert check(model) == ["BATCH_MATMUL", "RELU"]


def test_flatten_that_is_also_an_output_keeps_onnx_order(check: Any, graph_of: GraphOf) -> None:
    nodes = [
        conv("x", "a"),
        helper.make_node("Flatten", ["a"], ["f"]),
        helper.make_node("MatMul", ["f", "w2"], ["y"]),
    ]
    constants = {"w": weights(4, 3, 3, 3), "w2": weights(120, 5)}
    model = graph_of(nodes, {"x": (1, 3, 5, 6)}, {"y": (1, 5), "f": (1, 120)}, constants)
    assert check(model).count("TRANSPOSE") == 2


def test_a_channels_last_model_costs_no_transpose(check: Any, graph_of: GraphOf) -> None:
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
        conv("t", "a"),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("Transpose", ["r"], ["y"], perm=[0, 2, 3, 1]),
    ]
    model = graph_of(nodes, {"x": (1, 5, 6, 3)}, {"y": (1, 5, 6, 4)}, {"w": weights(4, 3, 3, 3)})
    assert check(model) == ["CONV_2D"]


def test_a_transpose_of_a_channels_last_tensor_is_one_transpose(check: Any, graph_of: GraphOf) -> None:
    nodes = [conv("x", "a"), helper.make_node("Transpose", ["a"], ["y"], perm=[0, 1, 3, 2])]
    model = graph_of(nodes, {"x": (1, 3, 5, 6)}, {"y": (1, 4, 6, 5)}, {"w": weights(4, 3, 3, 3)})
    assert check(model) == ["TRANSPOSE", "CONV_2D", "TRANSPOSE"]


def test_patches_become_tokens_and_back_without_a_transpose(check: Any, graph_of: GraphOf) -> None:
    nodes = [
        conv("x", "a"),
        helper.make_node("Reshape", ["a", "flat"], ["b"]),
        helper.make_node("Transpose", ["b"], ["tokens"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["tokens", "m"], ["mixed"]),
        helper.make_node("Transpose", ["mixed"], ["c"], perm=[0, 2, 1]),
        helper.make_node("Reshape", ["c", "image"], ["d"]),
        conv("d", "y", "w2"),
    ]
    constants = {"w": weights(4, 3, 3, 3), "w2": weights(2, 4, 3, 3), "m": weights(4, 4)}
    constants |= {"flat": np.array([1, 4, 30]), "image": np.array([1, 4, 5, 6])}  # type: ignore[dict-item]
    model = graph_of(nodes, {"x": (1, 3, 5, 6)}, {"y": (1, 2, 5, 6)}, constants)
    body = ["CONV_2D", "RESHAPE", "FULLY_CONNECTED", "RESHAPE", "CONV_2D"]
    assert check(model) == ["TRANSPOSE", *body, "TRANSPOSE"]


def test_three_spatial_axes_have_no_inner_transpose(check: Any, graph_of: GraphOf) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1] * 6),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2, 2], strides=[2, 2, 2]),
        helper.make_node("Add", ["p", "p"], ["s"]),
        helper.make_node("GlobalAveragePool", ["s"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Gemm", ["f", "m"], ["y"], transB=1),
    ]
    model = graph_of(nodes, {"x": (1, 3, 4, 6, 6)}, {"y": (1, 5)}, {"w": weights(4, 3, 3, 3, 3), "m": weights(5, 4)})
    codes = check(model)
    assert codes.count("TRANSPOSE") == 1
    assert [code for code in codes if code not in ("TRANSPOSE", "RESHAPE", "SLICE", "PAD", "CONCATENATION")] == [
        "CONV_2D", "MAX_POOL_2D", "MAX_POOL_2D", "ADD", "MEAN", "FULLY_CONNECTED",
    ]  # fmt: skip


def test_operands_of_lower_rank_align_to_the_right(check: Any, graph_of: GraphOf) -> None:
    nodes = [
        conv("x", "a"),
        helper.make_node("Add", ["a", "z"], ["b"]),
        helper.make_node("Mul", ["b", "row"], ["c"]),
        conv("c", "y", "w2"),
    ]
    constants = {"w": weights(4, 3, 3, 3), "w2": weights(2, 4, 3, 3), "row": weights(6)}
    model = graph_of(nodes, {"x": (1, 3, 5, 6), "z": (4, 1, 6)}, {"y": (1, 2, 5, 6)}, constants)
    assert check(model).count("TRANSPOSE") == 3  # x, z, y


def test_reductions_that_reorder_what_is_left(check: Any, graph_of: GraphOf) -> None:
    nodes = [conv("x", "a"), helper.make_node("ReduceMax", ["a", "axes"], ["y"], keepdims=0)]
    constants = {"w": weights(4, 3, 3, 3), "axes": np.array([2], np.int64)}
    model = graph_of(nodes, {"x": (1, 3, 5, 6)}, {"y": (1, 4, 6)}, constants)
    assert check(model) == ["TRANSPOSE", "CONV_2D", "REDUCE_MAX", "TRANSPOSE"]


def test_nhwc_images_enter_and_leave_without_a_transpose(
    clean_models: Mapping[str, Path], probes: Mapping[str, NDArray[np.float32]], run: Answer, graph_of: GraphOf
) -> None:
    original = convert(ir.load(clean_models["student_net"]))
    last = convert(ir.load(clean_models["student_net"]), layout="nhwc")
    assert [op.code for op in last.ops] == [op.code for op in original.ops][1:]
    assert last.contract.inputs[0].permutation == (0, 2, 3, 1)
    assert last.contract.inputs[0].shape == original.contract.inputs[0].shape
    x = probes["student_net"][:1]
    wanted = run(original.content, {"input": x}, "builtin")["output"]
    stored = last.contract.inputs[0].to_file(x)
    assert np.array_equal(run(last.content, {"input": stored}, "builtin")["output"], wanted)

    model = graph_of([conv("x", "y")], {"x": (1, 3, 5, 6)}, {"y": (1, 4, 5, 6)}, {"w": weights(4, 3, 3, 3)})
    image = convert(ir.from_proto(model), layout="nhwc")
    assert [op.code for op in image.ops] == ["CONV_2D"]
    x = np.random.default_rng(0).standard_normal((1, 3, 5, 6)).astype(np.float32)
    held = run(image.content, {"x": image.contract.inputs[0].to_file(x)}, "builtin")["y"]
    assert np.allclose(
        image.contract.outputs[0].from_file(held), ReferenceEvaluator(model).run(None, {"x": x})[0], atol=1e-5
    )


def test_forms_renumber_axes() -> None:
    assert [LAST.axis(axis, 4) for axis in range(4)] == [0, 3, 1, 2]
    assert [LAST.axis(axis, 3) for axis in range(3)] == [0, 3, 2]
    assert [LAST.axis(axis, 5) for axis in range(5)] == [0, 4, 1, 2, 3]
    assert LAST.axis(-1, 4) == 2
    assert LAST.shape((2, 3, 5)) == (2, 1, 5, 3)
    assert LAST.shape((2, 3, 5, 6, 7)) == (2, 5, 6, 7, 3)
    array = np.arange(6)[None]
    assert Form("flat", (2, 3)).array(array).tolist() == [[0, 3, 1, 4, 2, 5]]
