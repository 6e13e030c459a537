"""Pools, resizing, normalization and sampling: each case against a reference that is not ours, and its operators."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgewright.errors import UnsupportedOps
from edgewright.export.tflite.convert import Converted, convert

Arrays = dict[str, NDArray[Any]]
Answer = Callable[[bytes, Mapping[str, NDArray[Any]], str], Arrays]

RUNTIMES = ("xnnpack", "builtin", "legacy", "micro")
RELATIVE, ABSOLUTE = 1e-3, 2e-5
NO_CODES = ("TRANSPOSE", "RESHAPE")


@dataclass(frozen=True)
class Case:
    """`codes`: operators but transposes and reshapes, where they matter. `constants` follow `shapes` as inputs."""

    op: str
    shapes: tuple[tuple[int, ...], ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    codes: list[str] | None = None
    constants: tuple[NDArray[Any] | None, ...] = ()
    outputs: int = 1
    reference: str = "onnxruntime"
    micro: bool = True


def floats(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def scaled(*factors: float) -> tuple[NDArray[Any] | None, ...]:
    return (None, floats(*factors))


IMAGE, VOLUME = (2, 3, 9, 8), (2, 3, 7, 6, 5)
MAXIMA = ["SLICE"] * 3 + ["MAXIMUM"] * 2
MIXED = ["BATCH_MATMUL", "BATCH_MATMUL"]
NORMAL = ["MEAN", "SUB", "MUL", "MEAN", "ADD", "RSQRT", "MUL"]
CUBE = {"kernel_shape": [3] * 3, "strides": [2] * 3, "pads": [1] * 6}

POOLS = {
    "max dilated": Case("MaxPool", (IMAGE,), {"kernel_shape": [3, 3], "dilations": [2, 2]}, MAXIMA * 2),
    "max dilated along one axis": Case("MaxPool", ((2, 3, 9),), {"kernel_shape": [3], "dilations": [2]}, MAXIMA),
    "max ceil": Case(
        "MaxPool", (IMAGE,), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 0, 0], "ceil_mode": 1},
        ["PADV2", "MAX_POOL_2D"],
    ),
    "max 3-D": Case("MaxPool", (VOLUME,), CUBE, None, reference="onnx"),
    "max 3-D dilated": Case("MaxPool", (VOLUME,), {"kernel_shape": [2] * 3, "dilations": [2] * 3}),
    "average dilated": Case(
        "AveragePool", (IMAGE,), {"kernel_shape": [3, 3], "dilations": [2, 2], "pads": [1] * 4},
        ["PAD", "DEPTHWISE_CONV_2D", "MUL"],
    ),
    "average over declared pads": Case(
        "AveragePool", (IMAGE,), {"kernel_shape": [3, 3], "pads": [1] * 4, "count_include_pad": 1},
        ["PAD", "AVERAGE_POOL_2D"],
    ),
    "average ceil": Case(
        "AveragePool", (IMAGE,),
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4, "ceil_mode": 1, "count_include_pad": 1},
        ["PAD", "AVERAGE_POOL_2D", "MUL"],
    ),
    "average 3-D": Case("AveragePool", (VOLUME,), {**CUBE, "ceil_mode": 1}),
    "global average 3-D": Case("GlobalAveragePool", (VOLUME,), {}, ["MEAN"]),
    "global max 1-D": Case("GlobalMaxPool", ((2, 3, 9),), {}, ["REDUCE_MAX"]),
    "global average of four axes": Case("GlobalAveragePool", ((2, 3, 2, 2, 3, 2),), {}, ["MEAN"], reference="onnx"),
    "p-norm": Case("LpPool", (IMAGE,), {"kernel_shape": [3, 3], "p": 2, "auto_pad": "SAME_UPPER"}),
    "p-norm of order 3": Case("LpPool", (IMAGE,), {"kernel_shape": [2, 2], "p": 3, "strides": [2, 2]}, micro=False),
    "global p-norm": Case("GlobalLpPool", (IMAGE,), {"p": 2}),
    "max with places": Case(
        "MaxPool", (IMAGE,), {"kernel_shape": [3, 3], "pads": [1] * 4, "strides": [2, 2]}, outputs=2, micro=False
    ),
    "max 3-D with places": Case("MaxPool", (VOLUME,), CUBE, outputs=2, micro=False),
    "max with places by columns": Case(
        "MaxPool", ((1, 1, 9, 8),), {"kernel_shape": [3, 3], "storage_order": 1}, outputs=2, micro=False
    ),
}  # fmt: skip

RESIZES = {
    "nearest": Case("Resize", ((2, 3, 5, 7),), {}, ["GATHER"] * 2, scaled(1, 1, 1.4, 2.3), reference="onnx"),
    "doubled": Case("Resize", ((2, 3, 5, 7),), {}, ["RESIZE_NEAREST_NEIGHBOR"], scaled(1, 1, 2, 2)),
    "linear": Case("Resize", ((2, 3, 5, 7),), {"mode": "linear"}, MIXED, scaled(1, 1, 1.4, 2.3), reference="onnx"),
    "linear doubled": Case("Resize", ((2, 3, 5, 7),), {"mode": "linear"}, ["RESIZE_BILINEAR"], scaled(1, 1, 2, 2)),
    "1-D": Case("Resize", ((2, 3, 7),), {"mode": "linear"}, ["BATCH_MATMUL"], scaled(1, 1, 1.7), reference="onnx"),
    "3-D": Case(
        "Resize", (VOLUME,), {"mode": "linear"}, ["BATCH_MATMUL"] * 3, scaled(1, 1, 2, 2, 1.5), reference="onnx"
    ),
    "batch too": Case("Resize", ((2, 3, 4, 5),), {}, ["GATHER"] * 3, scaled(1.5, 1, 2, 2), reference="onnx"),
    "crop": Case(
        "Resize", ((1, 2, 5, 6),),
        {"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 10.0},
        [*MIXED, "ADD"], (floats(0, 0, 0.4, 0.6, 1, 1, 1.2, 1.7), None, np.array([1, 2, 4, 5])), reference="onnx",
    ),
    "policy": Case(
        "Resize", ((1, 2, 5, 6),), {"keep_aspect_ratio_policy": "not_smaller", "axes": [3, 2], "nearest_mode": "ceil"},
        ["GATHER"] * 2, (None, None, np.array([4, 7])), reference="onnx",
    ),
    "unchanged": Case("Resize", ((1, 2, 5, 6),), {"mode": "cubic"}, [], scaled(1, 1, 1, 1)),
} | {
    f"{mode} {transformation}": Case(
        "Resize", ((2, 3, 5, 7),), {"mode": mode, "coordinate_transformation_mode": transformation}, None,
        scaled(1, 1, 1.4, 2.3), reference="onnx",
    )
    for mode in ("nearest", "linear", "cubic")
    for transformation in ("half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric")
} | {
    f"{mode} shrunk {antialias}{exclude}": Case(
        "Resize", ((2, 3, 9, 7),), {"mode": mode, "antialias": antialias, "exclude_outside": exclude}, MIXED,
        scaled(1, 1, 0.6, 0.55), reference="onnx",
    )
    for mode in ("linear", "cubic") for antialias in (0, 1) for exclude in (0, 1)
}  # fmt: skip

STATISTICS = (floats(1.5, -0.5, 1, 2), floats(0, 1, -1, 0.5), floats(0.3, 0, -1, 2), floats(1, 0.5, 2, 0.1))
NORMALIZATIONS = {
    "batch": Case("BatchNormalization", ((2, 4, 3, 2, 5),), {}, ["MUL", "ADD"], STATISTICS),
    "batch, rank 2": Case("BatchNormalization", ((3, 4),), {}, ["MUL", "ADD"], STATISTICS),
    "instance": Case("InstanceNormalization", ((2, 4, 5, 6),), {}, [*NORMAL, "MUL", "ADD"], STATISTICS[:2]),
    "instance 3-D": Case("InstanceNormalization", ((2, 4, 3, 5, 6),), {}, [*NORMAL, "MUL", "ADD"], STATISTICS[:2]),
    "group": Case(
        "GroupNormalization", ((2, 4, 5, 6),), {"num_groups": 2}, [*NORMAL, "MUL", "ADD"], STATISTICS[:2],
        reference="onnx",
    ),
    "neutral group": Case(
        "GroupNormalization", ((2, 4, 5),), {"num_groups": 2}, NORMAL, (floats(1, 1, 1, 1), floats(0, 0, 0, 0)),
        reference="onnx",
    ),
    "layer of high rank": Case(
        "LayerNormalization", ((2, 2, 3, 2, 4),), {"axis": -1}, [*NORMAL, "MUL", "ADD"], STATISTICS[:2]
    ),
    "local response": Case("LRN", ((4, 4, 5, 6),), {"size": 3, "alpha": 0.3, "bias": 1.5}, None),
    "local response, even": Case("LRN", ((4, 4, 5, 6),), {"size": 4, "alpha": 0.3}, None, reference="onnx"),
    "mean and variance": Case("MeanVarianceNormalization", (IMAGE,)),
    "to length one": Case("LpNormalization", ((2, 4, 5),), {"axis": 1}),
    "to sum one": Case("LpNormalization", ((2, 4, 5),), {"axis": -1, "p": 1}),
}  # fmt: skip

GRID = np.random.default_rng(5).uniform(-1.4, 1.4, (2, 4, 3, 2)).astype(np.float32)
ROIS, OWNERS = floats(0, 0, 4, 5, 1, 1, 3, 2.5, -3, 2, 8, 9).reshape(3, 4), np.array([0, 1, 1])
REGIONS = {"output_height": 2, "output_width": 3, "sampling_ratio": 2, "spatial_scale": 0.9}
SHUFFLED = (2, 8, 3, 4)
OTHERS = {
    f"grid {mode} {padding}": Case(
        "GridSample", ((2, 3, 5, 6),), {"mode": mode, "padding_mode": padding}, None, (GRID,), reference="onnx"
    )
    for mode in ("nearest", "linear", "cubic") for padding in ("zeros", "border", "reflection")
} | {
    "grid computed": Case("GridSample", ((2, 3, 5, 6), (2, 4, 3, 2)), {"align_corners": 1}, micro=False),
    "grid 3-D": Case("GridSample", ((1, 2, 3, 4, 5), (1, 2, 2, 2, 3)), {}, micro=False, reference="onnx"),
    "regions": Case("RoiAlign", ((2, 3, 6, 7),), REGIONS, None, (ROIS, OWNERS), reference="onnx"),
    "largest of regions": Case("RoiAlign", ((2, 3, 6, 7),), {**REGIONS, "mode": "max"}, None, (ROIS, OWNERS)),
    "deformed": Case(
        "DeformConv", ((1, 4, 5, 6), (6, 2, 3, 3), (1, 36, 3, 4), (6,), (1, 18, 3, 4)),
        {"group": 2, "offset_group": 2}, reference="onnx", micro=False,
    ),
    "blocks": Case(
        "Col2Im", ((2, 12, 6),), {"strides": [2, 2]}, ["TRANSPOSE_CONV"], (np.array([5, 6]), np.array([2, 2])),
        reference="onnx",
    ),
    "cut and filled": Case("CenterCropPad", ((5, 6, 7),), {}, ["SLICE", "PAD"], (np.array([3, 9, 7]),)),
    "shuffled": Case("DepthToSpace", (SHUFFLED,), {"blocksize": 2, "mode": "CRD"}, ["GATHER", "DEPTH_TO_SPACE"]),
    "unshuffled": Case("SpaceToDepth", ((2, 3, 4, 6),), {"blocksize": 2}, ["SPACE_TO_DEPTH"]),
}  # fmt: skip


def model_of(case: Case) -> tuple[ModelProto, Arrays]:
    """The model with one node, and seeded inputs."""
    generator = np.random.default_rng(11)
    inputs = {f"x{i}": generator.standard_normal(shape).astype(np.float32) for i, shape in enumerate(case.shapes)}
    held = {f"c{i}": array for i, array in enumerate(case.constants)}
    names = [*inputs, *(name if array is not None else "" for name, array in held.items())]
    outputs = [f"y{i}" for i in range(case.outputs)]
    node = helper.make_node(case.op, names, outputs, name="node", **case.attributes)
    kinds = [TensorProto.FLOAT, TensorProto.INT64]
    ends = [helper.make_tensor_value_info(name, kind, None) for name, kind in zip(outputs, kinds)]
    return _model(node, inputs, ends, {name: array for name, array in held.items() if array is not None}), inputs


def _model(node: NodeProto, inputs: Arrays, outputs: list[Any], constants: Arrays) -> ModelProto:
    starts = [helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape) for name, array in inputs.items()]
    held = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph([node], "graph", starts, outputs, held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def convert_and_compare(case: Case, run: Answer) -> Converted:
    model, inputs = model_of(case)
    if case.reference == "onnx":
        wanted = ReferenceEvaluator(model).run(None, inputs)
    else:
        wanted = onnxruntime.InferenceSession(model.SerializeToString()).run(None, inputs)
    for value, array in zip(model.graph.output, wanted, strict=True):
        for length in array.shape:
            value.type.tensor_type.shape.dim.add().dim_value = length
    converted = convert(ir.from_proto(model))
    for runtime in RUNTIMES if case.micro else RUNTIMES[:3]:
        given = run(converted.content, inputs, runtime)
        for name, array in zip(["output"] if runtime == "micro" else [f"y{i}" for i in range(len(wanted))], wanted):
            assert given[name].shape == array.shape, runtime
            assert np.allclose(given[name], array, rtol=RELATIVE, atol=ABSOLUTE), runtime
    return converted


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=name) for name, case in (POOLS | RESIZES | NORMALIZATIONS | OTHERS).items()]
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning:onnx.reference")
def test_case(case: Case, run: Answer) -> None:
    converted = convert_and_compare(case, run)
    if case.codes is not None:
        assert [op.code for op in converted.ops if op.code not in NO_CODES] == case.codes


def test_average_over_a_volume_counts_like_torch(run: Answer) -> None:
    """onnxruntime counts what ceil_mode reaches beyond the pads of a volume, but not of an image."""
    case = Case("AveragePool", (VOLUME,), {**CUBE, "ceil_mode": 1, "count_include_pad": 1})
    model, inputs = model_of(case)
    wanted = torch.nn.functional.avg_pool3d(
        torch.from_numpy(inputs["x0"]), 3, 2, 1, ceil_mode=True, count_include_pad=True
    ).numpy()
    for length in wanted.shape:
        model.graph.output[0].type.tensor_type.shape.dim.add().dim_value = length
    given = run(convert(ir.from_proto(model)).content, inputs, "builtin")["y0"]
    assert np.abs(given - wanted).max() < ABSOLUTE


def test_unpooled_values_return_to_their_places(run: Answer) -> None:
    """MaxPool with places → MaxUnpool keeps the maxima and zeros elsewhere, as torch does."""
    x = np.random.default_rng(2).standard_normal((1, 2, 6, 8)).astype(np.float32)
    nodes = [
        helper.make_node("MaxPool", ["x"], ["v", "i"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("MaxUnpool", ["v", "i"], ["y"], "unpool", kernel_shape=[2, 2], strides=[2, 2]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, x.shape) for name in "xy"]
    graph = helper.make_graph(nodes, "graph", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    tensor = torch.from_numpy(x)
    wanted = torch.nn.functional.max_unpool2d(*torch.nn.functional.max_pool2d(tensor, 2, return_indices=True), 2)
    given = run(convert(ir.from_proto(model)).content, {"x": x}, "builtin")["y"]
    assert np.array_equal(given, wanted.numpy())


def test_a_pixel_shuffle_reorders_the_convolution_before_it(run: Answer) -> None:
    generator = np.random.default_rng(3)
    x = generator.standard_normal((1, 3, 5, 6)).astype(np.float32)
    held = {"w": generator.standard_normal((8, 3, 1, 1)), "b": generator.standard_normal(8)}
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["a"], "conv"),
        helper.make_node("DepthToSpace", ["a"], ["y"], "shuffle", blocksize=2, mode="CRD"),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", x.shape), ("y", (1, 2, 10, 12)))]
    constants = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in held.items()]
    graph = helper.make_graph(nodes, "graph", ends[:1], ends[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    converted = convert(ir.from_proto(model))
    assert [op.code for op in converted.ops] == ["TRANSPOSE", "CONV_2D", "DEPTH_TO_SPACE", "TRANSPOSE"]
    wanted = ReferenceEvaluator(model).run(None, {"x": x})[0]
    assert np.allclose(run(converted.content, {"x": x}, "builtin")["y"], wanted, atol=ABSOLUTE)


REFUSED = {
    "regions of any size": (Case("RoiAlign", ((2, 3, 6, 7),), {}, None, (ROIS, OWNERS)), "RoiAlign"),
    "four pooled axes": (Case("MaxPool", ((1, 2, 4, 4, 4, 4),), {"kernel_shape": [2] * 4}), "4 spatial axes"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_their_reason(name: str) -> None:
    case, reason = REFUSED[name]
    model, _ = model_of(case)
    for length in (3, 3, 1, 1) if case.op == "RoiAlign" else (1, 2, 3, 3, 3, 3):
        model.graph.output[0].type.tensor_type.shape.dim.add().dim_value = length
    with pytest.raises(UnsupportedOps, match=reason):
        convert(ir.from_proto(model))


@pytest.mark.parametrize("kind", [np.int32, np.int64])
def test_whole_numbers_are_moved_whatever_their_type(kind: type[np.generic], run: Answer) -> None:
    x = (np.arange(2 * 3 * 4 * 5) % 7).reshape(2, 3, 4, 5).astype(kind)
    element = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"], "node")
    ends = [helper.make_tensor_value_info(n, element, s) for n, s in (("x", x.shape), ("y", (2, 3, 8, 10)))]
    scales = numpy_helper.from_array(floats(1, 1, 2, 2), "scales")
    graph = helper.make_graph([node], "graph", ends[:1], ends[1:], [scales])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    content = convert(ir.from_proto(model)).content
    for runtime in RUNTIMES[:3]:
        assert np.array_equal(run(content, {"x": x}, runtime)["y"], x.repeat(2, 2).repeat(2, 3)), runtime


def test_a_group_norm_spelled_as_an_instance_norm_keeps_channels_last(run: Answer) -> None:
    """What torch exports: Reshape → InstanceNormalization of ones and zeros → Reshape → Mul → Add."""
    generator = np.random.default_rng(3)
    held = {
        "w": generator.standard_normal((8, 3, 3, 3)).astype(np.float32),
        "groups": np.array([0, 2, -1]),
        "ones": np.ones(2, np.float32),
        "zeros": np.zeros(2, np.float32),
        "shape": np.array([1, 8, 5, 6]),
        "scale": generator.standard_normal((8, 1, 1)).astype(np.float32),
        "shift": generator.standard_normal((8, 1, 1)).astype(np.float32),
        "w2": generator.standard_normal((4, 8, 1, 1)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1] * 4),
        helper.make_node("Reshape", ["a", "groups"], ["b"]),
        helper.make_node("InstanceNormalization", ["b", "ones", "zeros"], ["c"]),
        helper.make_node("Reshape", ["c", "shape"], ["d"]),
        helper.make_node("Mul", ["d", "scale"], ["e"]),
        helper.make_node("Add", ["e", "shift"], ["f"]),
        helper.make_node("Conv", ["f", "w2"], ["y"]),
    ]
    shapes = {"x": (1, 3, 5, 6), "y": (1, 4, 5, 6)}
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    constants = [numpy_helper.from_array(array, name) for name, array in held.items()]
    graph = helper.make_graph(nodes, "graph", ends[:1], ends[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    x = generator.standard_normal((1, 3, 5, 6)).astype(np.float32)
    wanted = ReferenceEvaluator(model).run(None, {"x": x})[0]
    converted = convert(ir.from_proto(model))
    body = ["CONV_2D", "RESHAPE", *NORMAL, "RESHAPE", "MUL", "ADD", "CONV_2D"]
    assert [op.code for op in converted.ops] == ["TRANSPOSE", *body, "TRANSPOSE"]
    assert np.allclose(run(converted.content, {"x": x}, "builtin")["y"], wanted, atol=ABSOLUTE)
