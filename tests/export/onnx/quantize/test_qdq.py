"""The int8 truth, construct by construct: what is quantized, tied, fused, dropped, and what stays in float."""

from collections import Counter
from collections.abc import Mapping

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime  # type: ignore[import-untyped]
import pytest
from numpy.typing import NDArray

from edgewright.data import Samples
from edgewright.export.onnx.file import contract_of
from edgewright.export.onnx.passes.names import tidy_names
from edgewright.export.onnx.passes.shapes import infer_shapes
from edgewright.export.onnx.quantize.calibrate import observe
from edgewright.export.onnx.quantize.plan import Plan, plan_int8
from edgewright.export.onnx.quantize.qdq import observed_tensors
from edgewright.export.onnx.quantize.quantized import quantized_copy
from edgewright.export.verify import snr_db
from edgewright.progress import Silent

Feeds = Mapping[str, NDArray[np.float32]]


def floats(*shape: int, seed: int = 0) -> str:
    values = np.random.default_rng(seed).normal(size=int(np.prod(shape)))
    return "{" + ", ".join(f"{value:.5f}" for value in values) + "}"


def parse(body: str) -> ir.Model:
    model = ir.from_proto(onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]> agraph {body}'))
    infer_shapes(model)
    tidy_names(model)
    return model


def feeds_for(model: ir.Model, count: int = 32) -> dict[str, NDArray[np.float32]]:
    generator = np.random.default_rng(3)
    return {
        str(value.name): generator.normal(size=(count, *value.shape.numpy()[1:])).astype(np.float32)
        for value in model.graph.inputs
        if value.shape is not None
    }


def run(model: ir.Model, feeds: Feeds) -> list[NDArray[np.float32]]:
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    count = len(next(iter(feeds.values())))
    rows = [session.run(None, {name: array[i : i + 1] for name, array in feeds.items()}) for i in range(count)]
    return [np.concatenate(column) for column in zip(*rows, strict=True)]


def quantized(body: str) -> tuple[ir.Model, Plan, float]:
    """The int8 form of a model, its plan, and its SNR against the float model on the calibration samples."""
    model = parse(body)
    feeds = feeds_for(model)
    wanted = run(model, feeds)
    names = observed_tensors(plan_int8(model))
    observed = observe(model, contract_of(model), names, Samples(feeds), Silent())
    made = quantized_copy(model, {name: seen.range("minmax") for name, seen in observed.items()})
    return made.model, made.plan, min(map(snr_db, wanted, run(made.model, feeds)))


def ops(model: ir.Model) -> Counter[str]:
    """Operators without the Q/DQ of weights and activations."""
    return Counter(node.op_type for node in model.graph if node.op_type not in ("QuantizeLinear", "DequantizeLinear"))


def grid(model: ir.Model, name: str) -> tuple[float, int]:
    """Scale and zero point of an activation, by the name of its dequantized tensor."""
    (node,) = (node for node in model.graph if node.outputs[0].name == name)
    assert node.op_type == "DequantizeLinear"
    scale, zero = (value.const_value for value in node.inputs[1:] if value is not None)
    assert scale is not None
    assert zero is not None
    assert scale.shape.rank() == zero.shape.rank() == 0
    return float(scale.numpy()), int(zero.numpy())


CONV = f"float[4,3,3,3] w = {floats(4, 3, 3, 3)}, float[4] b = {floats(4, seed=1)}"
IMAGE = "(float[1,3,6,6] x)"


def test_a_convolution_has_the_form_of_the_contract() -> None:
    model, plan, snr = quantized(f"{IMAGE} => (float[1,4,4,4] y) <{CONV}> {{ c = Conv(x, w, b) y = Relu(c) }}")
    assert [node.op_type for node in model.graph] == [
        "QuantizeLinear",
        "DequantizeLinear",
        "DequantizeLinear",
        "DequantizeLinear",
        "Conv",
        "QuantizeLinear",
        "DequantizeLinear",
    ]
    (conv,) = (node for node in model.graph if node.op_type == "Conv")
    x, weight, bias = (value.producer() for value in conv.inputs if value is not None)
    assert x is not None
    assert weight is not None
    assert bias is not None
    assert [value.name for value in model.graph.inputs] == ["x"]
    assert [value.name for value in model.graph.outputs] == ["y"]
    assert (conv.outputs[0].name, x.outputs[0].name) == ("y_raw", "x_dequantized")
    codes, scales, zeros = (value.const_value.numpy() for value in weight.inputs if value and value.const_value)
    assert (codes.dtype, scales.dtype, zeros.dtype) == (np.int8, np.float32, np.int8)
    assert weight.attributes.get_int("axis") == 0
    assert codes.min() >= -127
    assert np.abs(codes).reshape(4, -1).max(1).tolist() == [127] * 4
    assert scales.shape == zeros.shape == (4,)
    assert not zeros.any()
    assert len(bias.inputs) == 2
    integers, bias_scales = (value.const_value.numpy() for value in bias.inputs if value and value.const_value)
    assert integers.dtype == np.int32
    np.testing.assert_array_equal(bias_scales, np.float32(grid(model, "x_dequantized")[0]) * scales)
    assert grid(model, "y")[1] == -128  # ReLU is implied and gone
    assert plan.float_ops() == []
    assert snr > 35


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ("{ c = Conv(x, w, b) y = Clip(c, zero, six) }", {"Conv": 1}),
        ("{ c = Conv(x, w, b) y = Clip(c, one, six) }", {"Conv": 1, "Clip": 1}),
        ("{ c = Conv(x, w, b) y = LeakyRelu(c) }", {"Conv": 1, "LeakyRelu": 1}),
        ("{ c = Conv(x, w, b) y = HardSwish(c) }", {"Conv": 1, "HardSwish": 1}),
        ("{ c = Conv(x, w, b) s = Sigmoid(c) y = Mul(c, s) }", {"Conv": 1, "Sigmoid": 1, "Mul": 1}),
        ("{ c = Conv(x, w, b) r = Relu(c) s = Add(c, r) y = Relu(s) }", {"Conv": 1, "Relu": 1, "Add": 1}),
        ("{ c = Conv(x, w, b) y = Add(c, k) }", {"Conv": 1, "Add": 1}),
        ("{ c = Conv(x, w, b) t = Tanh(c) y = Sub(t, c) }", {"Conv": 1, "Tanh": 1, "Sub": 1}),
    ],
)
def test_activations_and_residuals(body: str, wanted: dict[str, int]) -> None:
    constants = (
        f"{CONV}, float zero = {{0}}, float one = {{0.5}}, float six = {{6}}, float[4,1,1] k = {floats(4, 1, 1)}"
    )
    model, plan, snr = quantized(f"{IMAGE} => (float[1,4,4,4] y) <{constants}> {body}")
    assert ops(model) == wanted
    assert plan.int8_share == 1.0
    assert snr > 28


def test_constant_operands_are_int8_too() -> None:
    model, _, _ = quantized("(float[1,4] x) => (float[1,4] y) <float[4] k = {0.5, -1, 2, 0}> { y = Add(x, k) }")
    assert {v.const_value.dtype.name for v in model.graph.initializers.values() if v.const_value} == {"FLOAT", "INT8"}
    (add,) = (node for node in model.graph if node.op_type == "Add")
    producer = add.inputs[1].producer() if add.inputs[1] is not None else None
    assert producer is not None
    assert producer.inputs[0] is not None
    assert producer.inputs[0].name == "k_int8"


def test_carriers_keep_the_grid_of_their_input() -> None:
    model, plan, snr = quantized(
        f"{IMAGE} => (float[1,4] y) <{CONV}, int64[8] pads = {{0,0,1,1,0,0,1,1}}>"
        "{ c = Conv(x, w, b) r = Relu(c) p = Pad(r, pads) m = MaxPool<kernel_shape=[2,2]>(p)"
        " t = Transpose<perm=[0,1,3,2]>(m) g = GlobalAveragePool(t) y = Flatten(g) }"
    )
    assert {grid(model, name) for name in "rpmt"} == {grid(model, "r")}
    assert grid(model, "y") == grid(model, "g")
    assert grid(model, "g")[0] < grid(model, "r")[0]  # means lie closer together: a finer scale
    assert plan.int8_share == 1.0
    assert snr > 35


def test_what_a_pool_drops_does_not_widen_its_input() -> None:
    pooled, _, _ = quantized(
        f"{IMAGE} => (float[1,4,2,2] y) <{CONV}>"
        "{ c = Conv(x, w, b) y = MaxPool<kernel_shape=[2,2], strides=[2,2]>(c) }"
    )
    read, _, _ = quantized(
        f"{IMAGE} => (float[1,4,2,2] y, float[1,4,4,4] c) <{CONV}>"
        "{ c = Conv(x, w, b) y = MaxPool<kernel_shape=[2,2], strides=[2,2]>(c) }"
    )
    assert grid(pooled, "c") == grid(pooled, "y")
    assert grid(pooled, "c")[0] < 0.9 * grid(read, "c")[0]


def test_concat_ties_its_inputs_and_keeps_a_relu_that_its_grid_no_longer_implies() -> None:
    model, _, snr = quantized(
        f"{IMAGE} => (float[1,8,4,4] y) <{CONV}>"
        "{ c = Conv(x, w, b) d = Conv(x, w) r = Relu(d) y = Concat<axis=1>(c, r) }"
    )
    assert grid(model, "c") == grid(model, "r") == grid(model, "y")
    assert ops(model) == {"Conv": 2, "Relu": 1, "Concat": 1}
    (relu,) = (node for node in model.graph if node.op_type == "Relu")
    assert relu.inputs[0] is not None
    assert relu.inputs[0].producer() is not None
    assert relu.inputs[0].producer().op_type == "Conv"  # type: ignore[union-attr]
    assert snr > 30


def test_a_fixed_grid_leaves_a_concat_by_requantization() -> None:
    model, plan, snr = quantized(
        f"{IMAGE} => (float[1,8,4,4] y) <{CONV}> {{ c = Conv(x, w, b) s = Sigmoid(c) y = Concat<axis=1>(s, c) }}"
    )
    assert grid(model, "s") == (2.0**-8, -128)
    assert grid(model, "c") == grid(model, "y") == grid(model, "s_to_y_0")
    again = next(node for node in model.graph if node.outputs[0].name == "s_to_y_0_quantized")
    assert again.inputs[0] is not None
    assert again.inputs[0].name == "s"  # DequantizeLinear → QuantizeLinear
    assert ops(model) == {"Conv": 1, "Sigmoid": 1, "Concat": 1}
    assert plan.int8_share == 1.0
    assert snr > 28


def test_kernels_with_fixed_grids_and_what_carries_them() -> None:
    model, _, _ = quantized(
        "(float[1,2,4] x) => (float[1,8] y, float[1,2,4] t, float[1,4,4] z)"
        "{ s = Softmax(x) y = Flatten(s) t = Tanh(x) z = Concat<axis=1>(t, t) }"
    )
    assert grid(model, "s") == grid(model, "y") == (2.0**-8, -128)
    assert grid(model, "t") == grid(model, "z") == (2.0**-7, 0)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("{ r = Relu(x) e = Exp(r) y = Relu(e) }", {"Exp": "no int8 form"}),
        ("{ e = Exp(x) f = Reshape(e, to) y = Exp(f) }", {"Exp": "no int8 form", "Reshape": "no int8 neighbour"}),
        ("{ r = Relu(x) y = Pad(r, none, two) }", {"Pad": "it pads with another value than zero"}),
        ("{ s = Sigmoid(x) p = Pad(s, none, two) y = Relu(p) }", {"Pad": "it pads with another value than zero"}),
        (
            "{ n = Neg(x) q = Reshape(n, square) y = Conv(x4, q) }",
            {"Neg": "no int8 form", "Conv": "its weight is computed"},
        ),
    ],
)
def test_what_stays_in_float_says_why(body: str, reason: dict[str, str]) -> None:
    constants = "int64[2] to = {1, 4}, int64[4] none = {0,0,0,1}, float two = {2}, int64[4] square = {1,1,2,2}"
    inputs = "(float[1,4] x, float[1,1,3,3] x4)"
    out = "(float[1,1,2,2] y)" if "Conv" in body else "(float[1,5] y)" if "Pad" in body else "(float[1,4] y)"
    model, plan, snr = quantized(f"{inputs} => {out} <{constants}> {body}")
    stays = {row["op"]: row["why"] for row in plan.float_ops() if row["op"] != "Reshape" or "Reshape" in reason}
    assert stays == reason
    assert plan.int8_share < 1
    assert all(name in ops(model) for name in reason)
    assert snr > 25


def test_dead_channels_and_silent_tensors() -> None:
    model, _, snr = quantized(
        "(float[1,1,8] x) => (float[1,2,6] y)"
        "<float[2,1,3] w = {0,0,0,1,2,3}, float[2] b = {-1, 0}, float none = {0}>"
        "{ c = Conv(x, w, b) r = Relu(c) z = Mul(r, none) y = Add(z, r) }"
    )
    scales = [
        v.const_value.numpy() for n, v in model.graph.initializers.items() if n.endswith("_scale") and v.const_value
    ]
    assert all((array > 0).all() for array in scales)
    assert snr > 30


@pytest.mark.parametrize(
    "body",
    [
        f"(float[1,4,5,5] x) => (float[1,4,7,7] y) <float[4,2,3,3] w = {floats(4, 2, 3, 3)}, float[4] b = {floats(4)}>"
        "{ y = ConvTranspose<group=2>(x, w, b) }",
        f"(float[1,6] x) => (float[1,4] y) <float[6,4] w = {floats(6, 4)}, float[4] b = {floats(4)}>"
        "{ y = Gemm(x, w, b) }",
        f"(float[1,3,6] x) => (float[1,3,4] y) <float[6,4] w = {floats(6, 4)}> {{ y = MatMul(x, w) }}",
        "(float[1,3,6] x, float[1,6,3] z) => (float[1,3,3] y) { y = MatMul(x, z) }",
        "(float[1,2,4,4] x) => (float[1,2,8,8] y) <float[4] s = {1,1,2,2}>"
        '{ r = Relu(x) y = Resize<mode="linear">(r, , s) }',
        "(float[1,2,4,4] x) => (float[1,2,2,2] y){ r = Relu(x) y = AveragePool<kernel_shape=[2,2], strides=[2,2]>(r) }",
        "(float[1,2,4] x) => (float[1,2,2] y) <int64[1] a = {1}, int64[1] e = {3}, int64[1] ax = {2}>"
        "{ r = Relu(x) y = Slice(r, a, e, ax) }",
    ],
)
def test_further_operators_run_in_int8(body: str) -> None:
    _, plan, snr = quantized(body)
    assert plan.int8_share == 1.0
    assert snr > 30


def test_what_only_moves_int8_values_stays_int8_and_onnxruntimes_exact_kernels_take_the_file() -> None:
    body = "(float[1,2,6,6] x) => (float[1,2,3,3] p, float[1,2,6,6] y, float[1,2] m)"
    model, plan, _ = quantized(
        body + " <float two = {2}> { p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(x) y = Mul(x, two)"
        " g = GlobalMaxPool(x) m = Flatten(g) }"
    )
    assert plan.float_ops() == []
    assert grid(model, "p") == grid(model, "m") == grid(model, "x_dequantized")
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    options.log_severity_level = 3
    content = ir.to_proto(model).SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    feeds = feeds_for(model, 1)
    for exact, plain in zip(session.run(None, dict(feeds)), run(model, feeds), strict=True):
        np.testing.assert_allclose(exact, plain, atol=1e-6)


def test_an_input_that_is_an_output_too_passes_as_it_is() -> None:
    model, _, _ = quantized(f"{IMAGE} => (float[1,4,4,4] y, float[1,3,6,6] x) <{CONV}> {{ y = Conv(x, w, b) }}")
    feeds = feeds_for(model)
    np.testing.assert_array_equal(run(model, feeds)[1], feeds["x"])
