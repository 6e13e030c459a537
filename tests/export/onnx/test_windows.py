"""Where sliding windows stand: explicit pads give the answers of the modes that they replace."""

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime  # type: ignore[import-untyped]
import pytest
import torch

from edgewright.export.onnx.graph import integers, shape_of
from edgewright.export.onnx.passes.shapes import infer_shapes
from edgewright.export.onnx.passes.windows import place_windows

# name: (input, pool, operators after)
POOLS: dict[str, tuple[tuple[int, ...], torch.nn.Module, list[str]]] = {
    "the last window starts beyond the end": ((1, 2, 30), torch.nn.MaxPool1d(2, 3, ceil_mode=True), ["MaxPool"]),
    "the last window overhangs": ((1, 2, 8, 11), torch.nn.MaxPool2d(3, 2, ceil_mode=True), ["MaxPool"]),
    "average over what is there": ((1, 2, 8, 8), torch.nn.AvgPool2d(3, 2, ceil_mode=True), ["AveragePool"]),
    "declared pads count, the overhang does not": (
        (1, 2, 8, 7),
        torch.nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=True),
        ["Pad", "AveragePool"],
    ),
    "no overhang": ((1, 2, 9), torch.nn.AvgPool1d(3, 3, ceil_mode=True), ["AveragePool"]),
}


def pool_of(shape: tuple[int, ...], pool: torch.nn.Module) -> ir.Model:
    rank = len(shape) - 2
    lengths = {name: value if isinstance(value := getattr(pool, name), tuple) else (value,) * rank for name in NAMES}
    attributes = {"kernel_shape": lengths["kernel_size"], "strides": lengths["stride"], "pads": lengths["padding"] * 2}
    if "Avg" in type(pool).__name__:
        attributes["count_include_pad"] = int(pool.count_include_pad)
    op = "AveragePool" if "Avg" in type(pool).__name__ else "MaxPool"
    nodes = [
        onnx.helper.make_node(op, ["x"], ["p"], ceil_mode=1, **attributes),
        onnx.helper.make_node("Relu", ["p"], ["y"]),
    ]
    ends = [onnx.helper.make_tensor_value_info("x", 1, shape)], [onnx.helper.make_tensor_value_info("y", 1, None)]
    graph = onnx.helper.make_graph(nodes, "graph", *ends)
    model = ir.from_proto(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10)
    )
    infer_shapes(model)
    return model


NAMES = ("kernel_size", "stride", "padding")
X, W = (1, 2, 5, 5), (2, 3, 4, 5)


@pytest.mark.parametrize("case", POOLS)
def test_ceil_mode_becomes_pads(case: str) -> None:
    shape, pool, wanted_ops = POOLS[case]
    model = pool_of(shape, pool)
    x = torch.from_numpy(np.random.default_rng(0).standard_normal(shape).astype(np.float32))
    wanted = torch.relu(pool(x)).numpy()
    assert place_windows(model) == 1
    assert [node.op_type for node in model.graph] == [*wanted_ops, "Relu"]
    assert not any(node.attributes.get_int("ceil_mode", 0) for node in model.graph)
    assert shape_of(model.graph.outputs[0]) == wanted.shape
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"x": x.numpy()})[0], wanted, rtol=1e-6, atol=1e-6)


def test_same_padding_of_a_dilated_convolution_counts_its_dilation() -> None:
    text = (
        '<ir_version: 10, opset_import: ["" : 21]> agraph (float[1,1,9,9] x, float[1,1,3,2] w) => (float[1,1,9,5] y)'
        '{ y = Conv<auto_pad="SAME_UPPER", dilations=[2,3], kernel_shape=[3,2], strides=[1,2]>(x, w) }'
    )
    model = ir.from_proto(onnx.parser.parse_model(text))
    assert place_windows(model) == 1
    (conv,) = model.graph
    assert integers(conv, "pads", ()) == (2, 1, 2, 2)
    infer_shapes(model)
    assert shape_of(conv.outputs[0]) == (1, 1, 9, 5)


@pytest.mark.parametrize(
    "asked",
    [
        'auto_pad="SAME_UPPER"',
        'auto_pad="SAME_LOWER"',
        'auto_pad="SAME_LOWER", output_padding=[1,1]',
        'auto_pad="VALID", output_padding=[1,0]',
        "output_shape=[9,10]",
        "output_shape=[9,10], output_padding=[1,1]",
    ],
)
def test_what_a_transposed_convolution_cuts_becomes_pads(asked: str) -> None:
    text = (
        '<ir_version: 10, opset_import: ["" : 21]> agraph (float[1,2,5,5] x, float[2,3,4,5] w) => (float[1,3,h,v] y)'
        f"{{ y = ConvTranspose<{asked}, strides=[2,2]>(x, w) }}"
    )
    model = ir.from_proto(onnx.parser.parse_model(text))
    rng = np.random.default_rng(0)
    fed = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in (("x", X), ("w", W))}
    wanted = answer(model, fed)
    assert place_windows(model) == 1
    assert not {"auto_pad", "output_shape"} & set(model.graph[0].attributes)
    np.testing.assert_array_equal(answer(model, fed), wanted)


def answer(model: ir.Model, fed: dict[str, np.ndarray]) -> np.ndarray:  # type: ignore[type-arg]
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, fed)[0]  # type: ignore[type-arg]
    return found
