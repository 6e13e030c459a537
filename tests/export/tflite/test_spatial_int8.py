"""Spatial operators between DQ and Q: int8 where a kernel is exact within a step, else float, and listed so."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edgewright.export.tflite.convert import Converted, convert

Arrays = dict[str, NDArray[Any]]
Answer = Callable[[bytes, Mapping[str, NDArray[Any]], str], Arrays]

RUNTIMES = ("xnnpack", "builtin", "reference", "legacy", "micro")
GRID = (0.05, 3)
OUT_GRID = (0.06, -7)

# name: (operator, input, weights, attributes, constants after the input, operators between QUANTIZE and DEQUANTIZE)
HEAVY: dict[str, tuple[str, tuple[int, ...], tuple[int, ...], dict[str, Any], list[str]]] = {
    "groups": ("Conv", (1, 4, 7, 8), (6, 2, 3, 3), {"group": 2}, ["CONV_2D"]),
    "3-D": ("Conv", (1, 3, 4, 6, 5), (4, 3, 2, 3, 3), {}, ["SLICE", "SLICE", "CONCATENATION", "CONV_2D"]),
    "3-D groups": (
        "Conv", (1, 4, 4, 6, 5), (4, 2, 2, 3, 3), {"group": 2}, ["SLICE", "SLICE", "CONCATENATION", "CONV_2D"],
    ),
    "transposed groups": (
        "ConvTranspose", (1, 4, 5, 6), (4, 3, 2, 2), {"group": 2, "strides": [2, 2]},
        ["SPLIT_V", "TRANSPOSE_CONV", "TRANSPOSE_CONV", "CONCATENATION"],
    ),
    "transposed depthwise": (
        "ConvTranspose", (1, 4, 5, 6), (4, 2, 3, 3), {"group": 4, "strides": [2, 2], "pads": [1] * 4},
        ["PAD", "PAD", "PAD", "DEPTHWISE_CONV_2D"],
    ),
    "transposed, dilated": (
        "ConvTranspose", (1, 4, 5, 6), (4, 3, 3, 3), {"dilations": [2, 2], "pads": [1] * 4},
        ["TRANSPOSE_CONV", "SLICE"],
    ),
}  # fmt: skip

MOVES: dict[str, tuple[str, tuple[int, ...], dict[str, Any], list[NDArray[Any] | None], list[str]]] = {
    "max dilated": (
        "MaxPool", (1, 3, 7, 6), {"kernel_shape": [2, 2], "dilations": [2, 2]}, [],
        ["SLICE", "SLICE", "MAXIMUM"] * 2,
    ),
    "max 3-D": ("MaxPool", (1, 3, 4, 6, 5), {"kernel_shape": [2, 2, 2]}, [], ["MAX_POOL_2D"] * 2),
    "nearest": ("Resize", (1, 3, 5, 4), {}, [None, np.array([1, 1, 1.6, 1.5], np.float32)], ["GATHER", "GATHER"]),
    "shuffled": ("DepthToSpace", (1, 8, 3, 4), {"blocksize": 2, "mode": "CRD"}, [], ["GATHER", "DEPTH_TO_SPACE"]),
}  # fmt: skip

FLOATS: dict[str, tuple[str, tuple[int, ...], dict[str, Any], list[NDArray[Any] | None]]] = {
    "cubic": ("Resize", (1, 3, 5, 4), {"mode": "cubic"}, [None, np.array([1, 1, 2, 2], np.float32)]),
    "average 3-D": ("AveragePool", (1, 3, 4, 6, 5), {"kernel_shape": [2, 2, 2]}, []),
    "average dilated": ("AveragePool", (1, 3, 6, 6), {"kernel_shape": [2, 2], "dilations": [2, 2]}, []),
}


def quantized(x: str, y: str, scale: str) -> list[NodeProto]:
    parameters = [f"{scale}_scale", f"{scale}_zero"]
    return [
        helper.make_node("QuantizeLinear", [x, *parameters], [f"{y}_q"], f"q_{y}"),
        helper.make_node("DequantizeLinear", [f"{y}_q", *parameters], [y], f"dq_{y}"),
    ]


def built(node: NodeProto, before: list[NodeProto], shape: tuple[int, ...], held: Arrays) -> tuple[ModelProto, Arrays]:
    nodes = [*quantized("x", "a", "in"), *before, node, *quantized("b", "output", "out")]
    grids = {"in": GRID, "out": OUT_GRID if before else GRID}
    for name, (scale, zero) in grids.items():
        held |= {f"{name}_scale": np.array(scale, np.float32), f"{name}_zero": np.array(zero, np.int8)}
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in held.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return model, {"x": np.random.default_rng(7).uniform(-6, 6, shape).astype(np.float32)}


def convert_and_compare(model: ModelProto, inputs: Arrays, run: Answer, steps: int) -> Converted:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    wanted = onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, inputs)[0]
    for length in wanted.shape:
        model.graph.output[0].type.tensor_type.shape.dim.add().dim_value = length
    converted = convert(ir.from_proto(model))
    scale = float(next(numpy_helper.to_array(t) for t in model.graph.initializer if t.name == "out_scale"))
    shuffles = any(op.code == "DEPTH_TO_SPACE" for op in converted.ops)  # the reference kernels have no int8 one
    for runtime in RUNTIMES:
        if shuffles and runtime == "reference":
            continue
        given = run(converted.content, inputs, runtime)["output"]
        assert given.shape == wanted.shape
        assert np.abs(given - wanted).max() <= (steps + 0.01) * scale, runtime
    return converted


@pytest.mark.parametrize("name", HEAVY)
def test_convolutions_stay_int8_per_channel(name: str, run: Answer) -> None:
    op, shape, weight_shape, attributes, codes = HEAVY[name]
    generator, axis = np.random.default_rng(3), 0 if op == "Conv" else 1
    channels = weight_shape[0] if op == "Conv" else weight_shape[1] * attributes.get("group", 1)
    scales = generator.uniform(0.005, 0.02, weight_shape[axis]).astype(np.float32)
    bias_scales = np.tile(scales, channels // len(scales)) * np.float32(GRID[0])
    held = {
        "w_int8": generator.integers(-127, 128, weight_shape).astype(np.int8),
        "w_scale": scales,
        "w_zero": np.zeros(len(scales), np.int8),
        "b_int32": generator.integers(-3000, 3000, channels).astype(np.int32),
        "b_scale": bias_scales,
        "b_zero": np.zeros(channels, np.int32),
    }
    before = [
        helper.make_node("DequantizeLinear", ["w_int8", "w_scale", "w_zero"], ["w"], "dq_w", axis=axis),
        helper.make_node("DequantizeLinear", ["b_int32", "b_scale", "b_zero"], ["c"], "dq_c", axis=0),
    ]
    node = helper.make_node(op, ["a", "w", "c"], ["b"], "heavy", **attributes)
    converted = convert_and_compare(*built(node, before, shape, held), run, 1)
    assert converted.notes["float_ops"] == []
    assert inner(converted) == codes


@pytest.mark.parametrize("name", MOVES)
def test_what_moves_codes_is_int8_and_exact(name: str, run: Answer) -> None:
    op, shape, attributes, constants, codes = MOVES[name]
    converted = convert_and_compare(*single(op, shape, attributes, constants), run, 0)
    assert converted.notes["float_ops"] == []
    assert inner(converted) == codes


@pytest.mark.parametrize("name", FLOATS)
def test_what_has_no_exact_kernel_runs_in_float(name: str, run: Answer) -> None:
    op, shape, attributes, constants = FLOATS[name]
    converted = convert_and_compare(*single(op, shape, attributes, constants), run, 1)
    assert converted.notes["float_ops"] == [f"node ({op})"] or converted.notes["int8_ops"] == 0


def single(
    op: str, shape: tuple[int, ...], attributes: Mapping[str, Any], constants: list[NDArray[Any] | None]
) -> tuple[ModelProto, Arrays]:
    held = {f"p{index}": array for index, array in enumerate(constants) if array is not None}
    names = [f"p{index}" if array is not None else "" for index, array in enumerate(constants)]
    return built(helper.make_node(op, ["a", *names], ["b"], "node", **attributes), [], shape, held)


def inner(converted: Converted) -> list[str]:
    ends = ("TRANSPOSE", "RESHAPE", "QUANTIZE", "DEQUANTIZE")
    return [op.code for op in converted.ops if op.code not in ends]
