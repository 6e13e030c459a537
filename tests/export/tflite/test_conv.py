"""Convolutions in every shape that one kernel or another treats apart, through every runtime."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, helper

from edgewright.errors import UnsupportedOps
from edgewright.export.tflite.convert import convert

Answer = Callable[[bytes, Mapping[str, NDArray[Any]], str], dict[str, NDArray[Any]]]
GraphOf = Callable[..., ModelProto]

RUNTIMES = ("xnnpack", "builtin", "reference", "legacy", "micro")
ABSOLUTE = 2e-5

# name: (input, weights, attributes, operators without the transposes at the ends)
CASES: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any], list[str]]] = {
    "same": ((1, 4, 7, 8), (6, 4, 3, 3), {"pads": [1, 1, 1, 1]}, ["CONV_2D"]),
    "stride on odd size": ((1, 4, 7, 9), (6, 4, 3, 3), {"pads": [1] * 4, "strides": [2, 2]}, ["CONV_2D"]),
    "stride on even size": ((1, 4, 8, 8), (6, 4, 3, 3), {"pads": [1] * 4, "strides": [2, 2]}, ["PAD", "CONV_2D"]),
    "uneven pads": ((1, 4, 7, 8), (6, 4, 3, 3), {"pads": [2, 0, 1, 3]}, ["PAD", "CONV_2D"]),
    "lower": ((1, 4, 8, 8), (6, 4, 2, 2), {"auto_pad": "SAME_LOWER"}, ["PAD", "CONV_2D"]),
    "dilated": ((1, 4, 9, 9), (6, 4, 3, 3), {"pads": [2] * 4, "dilations": [2, 2]}, ["CONV_2D"]),
    "groups": ((1, 4, 7, 8), (6, 2, 3, 3), {"group": 2}, ["CONV_2D"]),
    "depthwise": ((1, 4, 7, 8), (4, 1, 3, 3), {"group": 4, "pads": [1] * 4}, ["DEPTHWISE_CONV_2D"]),
    "multiplier": ((1, 4, 7, 8), (8, 1, 3, 3), {"group": 4}, ["DEPTHWISE_CONV_2D"]),
    "dilated depthwise": ((1, 4, 9, 9), (4, 1, 3, 3), {"group": 4, "dilations": [2, 2]}, ["DEPTHWISE_CONV_2D"]),
    "groups and computed bias": ((1, 4, 7, 8), (6, 2, 3, 3), {"group": 2, "strides": [2, 1]}, ["CONV_2D"]),
    "1-D dilated": ((1, 4, 20), (6, 4, 3), {"pads": [2, 2], "dilations": [2]}, ["CONV_2D"]),
    "3-D": ((2, 4, 5, 6, 7), (6, 4, 3, 3, 3), {}, [*["SLICE"] * 3, "CONCATENATION", "CONV_2D"]),
    "3-D padded": (
        (2, 4, 7, 8, 5), (6, 4, 3, 3, 3), {"pads": [1] * 6, "strides": [2, 1, 2], "dilations": [2, 1, 1]},
        ["PAD", *["STRIDED_SLICE"] * 3, "CONCATENATION", "CONV_2D"],
    ),
    "3-D groups": (
        (1, 4, 5, 6, 7), (6, 2, 3, 2, 2), {"group": 2, "auto_pad": "SAME_UPPER"},
        ["PAD", *["SLICE"] * 3, "CONCATENATION", "CONV_2D"],
    ),
    "3-D depthwise": ((1, 4, 5, 6, 7), (4, 1, 2, 3, 3), {"group": 4}, ["SLICE", "SLICE", "CONCATENATION", "CONV_2D"]),
    "3-D without depth": ((2, 4, 5, 6, 7), (6, 4, 1, 3, 3), {"pads": [0, 1, 1] * 2}, ["CONV_2D"]),
}  # fmt: skip
TRANSPOSED: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any], list[str]]] = {
    "doubling": ((1, 4, 5, 6), (4, 3, 2, 2), {"strides": [2, 2]}, ["TRANSPOSE_CONV"]),
    "cut": (
        (1, 4, 5, 6), (4, 3, 3, 3), {"strides": [2, 2], "pads": [1] * 4, "output_padding": [1, 1]},
        ["TRANSPOSE_CONV", "SLICE"],
    ),
    "four wide": ((1, 4, 5, 6), (4, 3, 4, 4), {"strides": [2, 2], "pads": [1] * 4}, ["TRANSPOSE_CONV"]),
    "1-D": ((1, 4, 5), (4, 3, 3), {"strides": [2]}, ["TRANSPOSE_CONV"]),
    "dilated": ((1, 4, 5, 6), (4, 3, 3, 3), {"dilations": [2, 2], "pads": [1] * 4}, ["TRANSPOSE_CONV", "SLICE"]),
    "groups": (
        (1, 4, 5, 6), (4, 3, 3, 3), {"group": 2, "strides": [2, 2], "pads": [1] * 4},
        ["SPLIT_V", "TRANSPOSE_CONV", "TRANSPOSE_CONV", "CONCATENATION"],
    ),
    "depthwise": (
        (2, 4, 5, 6), (4, 1, 4, 3), {"group": 4, "strides": [2, 3], "pads": [1, 0, 2, 1]},
        ["PAD", "PAD", "PAD", "DEPTHWISE_CONV_2D", "SLICE"],
    ),
    "depthwise, multiplied": ((1, 4, 5, 6), (4, 2, 3, 3), {"group": 4}, ["PAD", "DEPTHWISE_CONV_2D"]),
    "depthwise, cut": (
        (1, 4, 9), (4, 1, 3), {"group": 4, "strides": [3], "pads": [1, 4]},
        ["PAD", "PAD", "DEPTHWISE_CONV_2D", "SLICE"],
    ),
    "beyond the windows": (
        (1, 4, 5, 6), (4, 3, 2, 2), {"strides": [3, 3], "output_padding": [1, 2]}, ["TRANSPOSE_CONV"],
    ),
    "by shape": (
        (1, 4, 5, 6), (4, 3, 3, 3), {"strides": [3, 2], "output_shape": [14, 12]}, ["TRANSPOSE_CONV", "SLICE"],
    ),
    "by mode": ((1, 4, 5, 6), (4, 3, 2, 2), {"strides": [3, 3], "auto_pad": "SAME_LOWER"}, ["TRANSPOSE_CONV"]),
    "3-D": ((2, 4, 5, 6, 3), (4, 3, 3, 2, 2), {"strides": [2, 2, 1]}, ["CONV_3D_TRANSPOSE"]),
    "3-D cut": (
        (2, 4, 5, 6, 3), (4, 3, 3, 3, 3), {"strides": [2] * 3, "pads": [1] * 6, "output_padding": [1] * 3},
        ["CONV_3D_TRANSPOSE", "SLICE"],
    ),
}  # fmt: skip


def check(op: str, case: tuple[Any, ...], graph_of: GraphOf, run: Answer, computed: tuple[str, ...] = ()) -> list[str]:
    """The operators but transposes and reshapes, after a comparison with onnxruntime in every runtime."""
    shape, weight_shape, attributes, codes = case
    generator = np.random.default_rng(3)
    weights = (generator.standard_normal(weight_shape) / 6).astype(np.float32)
    channels = weight_shape[0] if op == "Conv" else weight_shape[1] * attributes.get("group", 1)
    constants = {"w": weights, "b": generator.standard_normal(channels).astype(np.float32)}
    inputs = {"x": generator.standard_normal(shape).astype(np.float32), **{n: constants.pop(n) for n in computed}}
    node = helper.make_node(op, ["x", "w", "b"], ["output"], **attributes)
    shapes = {name: array.shape for name, array in inputs.items()}
    model = graph_of([node], shapes, {"output": [None] * len(shape)}, constants)
    wanted = onnxruntime.InferenceSession(model.SerializeToString()).run(None, inputs)[0]
    converted = convert(ir.from_proto(graph_of([node], shapes, {"output": wanted.shape}, constants)))
    for runtime in RUNTIMES[:2] if computed else RUNTIMES[:4] if "CONV_3D_TRANSPOSE" in codes else RUNTIMES:
        given = run(converted.content, inputs, runtime)["output"]
        assert given.shape == wanted.shape, runtime
        assert np.abs(given - wanted).max() <= ABSOLUTE, runtime
    return [op.code for op in converted.ops if op.code not in ("TRANSPOSE", "RESHAPE")]


@pytest.mark.parametrize("name", CASES)
def test_convolution(name: str, graph_of: GraphOf, run: Answer) -> None:
    assert check("Conv", CASES[name], graph_of, run) == CASES[name][3]


@pytest.mark.parametrize("name", TRANSPOSED)
def test_transposed_convolution(name: str, graph_of: GraphOf, run: Answer) -> None:
    assert check("ConvTranspose", TRANSPOSED[name], graph_of, run) == TRANSPOSED[name][3]


@pytest.mark.parametrize("name", ["uneven pads", "depthwise", "1-D dilated", "3-D"])
def test_computed_weights(name: str, graph_of: GraphOf, run: Answer) -> None:
    assert check("Conv", CASES[name], graph_of, run, ("w", "b")) == CASES[name][3]


def test_four_spatial_axes_are_refused(graph_of: GraphOf) -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    weights = np.ones((2, 1, 3, 3, 3, 3), np.float32)
    model = graph_of([node], {"x": (1, 1, 4, 4, 4, 4)}, {"y": (1, 2, 2, 2, 2, 2)}, {"w": weights})
    with pytest.raises(UnsupportedOps, match="4 spatial axes"):
        convert(ir.from_proto(model))


@pytest.mark.parametrize(("name", "version"), [("same", 1), ("groups", 6), ("depthwise", 1), ("dilated depthwise", 2)])
def test_versions_follow_what_the_kernel_must_know(name: str, version: int, graph_of: GraphOf) -> None:
    shape, weight_shape, attributes, codes = CASES[name]
    node = helper.make_node("Conv", ["x", "w"], ["y"], **attributes)
    model = graph_of([node], {"x": shape}, {"y": ()}, {"w": np.ones(weight_shape, np.float32)})
    model.graph.output[0].type.tensor_type.ClearField("shape")
    ops = convert(ir.from_proto(onnx.shape_inference.infer_shapes(model))).ops
    assert [op.version for op in ops if op.code == codes[-1]] == [version]
