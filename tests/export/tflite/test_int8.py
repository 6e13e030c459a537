"""int8: each operator answers within a step of its QDQ truth in every runtime, and no scale is invented."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray
from onnx import ModelProto, helper

from edgewright.errors import Error
from edgewright.export.tflite.convert import convert
from edgewright.export.tflite.quantization import INT8_KERNELS

Arrays = dict[str, NDArray[Any]]
Answer = Callable[[bytes, Mapping[str, NDArray[Any]], str], Arrays]
GraphOf = Callable[..., ModelProto]
Node = Any

RUNTIMES = ("xnnpack", "builtin", "reference", "legacy", "micro")
STEPS = 1

IN, OUT = (0.05, 3), (0.04, -5)
CASES: dict[str, tuple[Node, tuple[float, int], tuple[float, int], tuple[int, ...]]] = {
    "Relu": (helper.make_node("Relu", ["a"], ["b"]), IN, (0.03, -128), (1, 4, 5, 6)),
    "Clip": (helper.make_node("Clip", ["a", "low", "high"], ["b"]), IN, IN, (1, 4, 5, 6)),
    "LeakyRelu": (helper.make_node("LeakyRelu", ["a"], ["b"], alpha=0.1), IN, OUT, (1, 4, 5, 6)),
    "HardSwish": (helper.make_node("HardSwish", ["a"], ["b"]), IN, OUT, (1, 4, 5, 6)),
    "Sigmoid": (helper.make_node("Sigmoid", ["a"], ["b"]), IN, (1 / 256, -128), (1, 4, 5, 6)),
    "Tanh": (helper.make_node("Tanh", ["a"], ["b"]), IN, (1 / 128, 0), (1, 4, 5, 6)),
    "Softmax": (helper.make_node("Softmax", ["a"], ["b"]), IN, (1 / 256, -128), (1, 12)),
    "Add": (helper.make_node("Add", ["a", "a2"], ["b"]), IN, (0.1, 2), (1, 4, 5, 6)),
    "Sub": (helper.make_node("Sub", ["a", "a2"], ["b"]), IN, (0.1, 2), (1, 4, 5, 6)),
    "Mul": (helper.make_node("Mul", ["a", "a2"], ["b"]), IN, (0.2, 2), (1, 4, 5, 6)),
    "MaxPool": (helper.make_node("MaxPool", ["a"], ["b"], kernel_shape=[3, 3], pads=[1] * 4), IN, IN, (1, 4, 5, 6)),
    "AveragePool": (helper.make_node("AveragePool", ["a"], ["b"], kernel_shape=[2, 2]), IN, IN, (1, 4, 5, 6)),
    "GlobalAveragePool": (helper.make_node("GlobalAveragePool", ["a"], ["b"]), IN, IN, (1, 4, 5, 6)),
    "GlobalMaxPool": (helper.make_node("GlobalMaxPool", ["a"], ["b"]), IN, IN, (1, 4, 5, 6)),
    "MatMul": (helper.make_node("MatMul", ["a", "a2"], ["b"]), IN, (1.0, 2), (1, 4, 6, 6)),
    "ReduceMean": (helper.make_node("ReduceMean", ["a", "minus_one"], ["b"], keepdims=0), IN, (0.02, 3), (1, 4, 5, 6)),
    "Concat": (helper.make_node("Concat", ["a", "a2"], ["b"], axis=1), IN, IN, (1, 4, 5, 6)),
    "Flatten": (helper.make_node("Flatten", ["a"], ["b"]), IN, IN, (1, 4, 5, 6)),
    "Transpose": (helper.make_node("Transpose", ["a"], ["b"], perm=[0, 2, 1]), IN, IN, (1, 4, 5)),
    "Pad": (helper.make_node("Pad", ["a", "pads", "fill"], ["b"]), IN, IN, (1, 4, 5, 6)),
    "Slice": (helper.make_node("Slice", ["a", "one", "minus_one", "two"], ["b"]), IN, IN, (1, 4, 5, 6)),
    "Resize": (
        helper.make_node("Resize", ["a", "", "scales"], ["b"], mode="linear"), IN, IN, (1, 4, 5, 6),
    ),
}  # fmt: skip
PARAMETERS = {
    "low": np.array(-1.3, np.float32),
    "high": np.array(2.2, np.float32),
    "pads": np.array([0, 0, 1, 2, 0, 0, 0, 1], np.int64),
    "fill": np.array(0.5, np.float32),
    "one": np.array([1], np.int64),
    "minus_one": np.array([-1], np.int64),
    "two": np.array([2], np.int64),
    "scales": np.array([1, 1, 2, 2], np.float32),
}


def quantizer(x: str, y: str, scale: str, axis: int | None = None) -> list[Node]:
    """x → Q → DQ → y."""
    axes = {} if axis is None else {"axis": axis}
    parameters = [f"{scale}_scale", f"{scale}_zero"]
    return [
        helper.make_node("QuantizeLinear", [x, *parameters], [f"{x}_q"], f"q_{x}_{y}", **axes),
        helper.make_node("DequantizeLinear", [f"{x}_q", *parameters], [y], f"dq_{x}_{y}", **axes),
    ]


def scales(**given: tuple[float, int]) -> Arrays:
    held: Arrays = {}
    for name, (scale, zero_point) in given.items():
        held |= {f"{name}_scale": np.array(scale, np.float32), f"{name}_zero": np.array(zero_point, np.int8)}
    return held


def truth(model: ModelProto, inputs: Arrays) -> Arrays:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


@pytest.mark.parametrize("op", CASES)
def test_one_int8_operator_is_within_a_step_everywhere(op: str, graph_of: GraphOf, run: Answer) -> None:
    node, scale_in, scale_out, shape = CASES[op]
    x = np.random.default_rng(7).uniform(-6, 6, shape).astype(np.float32)
    second = scales(c=(0.03, 7))
    held = {"c": np.random.default_rng(8).uniform(-3, 3, shape).astype(np.float32)}
    nodes = quantizer("x", "a", "in")
    if "a2" in node.input:
        nodes += quantizer("c", "a2", "in" if op == "Concat" else "c")
    model = graph_of([*nodes, node, *quantizer("b", "output", "out")], {"x": shape}, {"output": ()}, {})
    used = {name for node in model.graph.node for name in node.input}
    constants = PARAMETERS | held | second | scales(**{"in": scale_in, "out": scale_out})
    constants = {name: array for name, array in constants.items() if name in used}
    wanted = truth(_with(model, constants, None, graph_of, shape), {"x": x})["output"]
    model = _with(model, constants, wanted.shape, graph_of, shape)
    converted = convert(ir.from_proto(model))
    assert converted.notes["int8_ops"] == 1
    assert converted.notes["float_ops"] == []
    assert {op.code for op in converted.ops} & {"QUANTIZE", "DEQUANTIZE"} == {"QUANTIZE", "DEQUANTIZE"}
    for runtime in RUNTIMES:
        given = run(converted.content, {"x": x}, runtime)["output"]
        steps = np.abs(given - wanted).max() / np.float32(scale_out[0])
        assert steps <= STEPS + 1e-3, f"{runtime}: {steps} steps"
    assert np.ptp(wanted) > 5 * scale_out[0]


def _with(
    model: ModelProto, constants: Arrays, out: tuple[int, ...] | None, graph_of: GraphOf, shape: tuple[int, ...]
) -> ModelProto:
    nodes = list(model.graph.node)
    built = graph_of(nodes, {"x": shape}, {"output": out or ()}, constants)
    if out is None:
        del built.graph.output[0].type.tensor_type.shape.dim[:]
        built.graph.output[0].type.tensor_type.ClearField("shape")
    return built


@pytest.mark.parametrize("name", ["watch_cnn", "student_net", "resnet18"])
def test_every_inner_operator_is_within_a_step_of_its_own_inputs(
    name: str, int8_models: Mapping[str, Path], probes: Mapping[str, NDArray[np.float32]]
) -> None:
    """Exact arithmetic on the integers that the kernel was given, rounded once: what the QDQ graph says of this op."""
    converted = convert(ir.load(int8_models[name]))
    interpreter = Interpreter(
        model_content=converted.content,
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], probes[name][:1])
    interpreter.invoke()
    index = {detail["name"]: detail["index"] for detail in interpreter.get_tensor_details()}
    checked = 0
    for op in converted.ops:
        if op.code not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MEAN", "ADD"):
            continue
        operands = [_real(tensor, interpreter, index) for tensor in op.inputs]
        exact = _compute(op.code, operands, op.options)
        quantization = op.outputs[0].quantization
        assert quantization is not None
        codes = np.clip(np.rint(exact / quantization.scale[0]) + quantization.zero_point[0], -128, 127)
        given = interpreter.get_tensor(index[op.outputs[0].name])
        assert np.abs(codes - given).max() <= STEPS, op.outputs[0].name
        # Means of a few integers are often exact ties, which the reference kernel rounds up and ONNX to even.
        assert (codes != given).mean() < (0.5 if op.code == "MEAN" else 0.02), op.outputs[0].name
        checked += 1
    assert checked >= converted.notes["ops"]["CONV_2D"] + 2


def _real(tensor: Any, interpreter: Any, index: Mapping[str, int]) -> NDArray[np.float64]:
    """The real values of an operand, from the constant itself or from what the runtime computed."""
    stored = interpreter.get_tensor(index[tensor.name]) if tensor.data is None else tensor.data
    held = tensor.quantization
    if held is None:
        return np.asarray(stored)
    spread = [1] * stored.ndim
    if stored.ndim:
        spread[held.axis] = -1
    points = held.zero_point.reshape(spread)
    return (stored.astype(np.float64) - points) * held.scale.astype(np.float64).reshape(spread)


def _compute(code: str, operands: list[NDArray[np.float64]], options: Mapping[str, Any]) -> NDArray[np.float64]:
    import torch
    import torch.nn.functional as f

    x = operands[0]
    if code == "MEAN":
        return x.mean(axis=tuple(int(axis) for axis in operands[1]), keepdims=True)
    if code == "ADD":
        exact = x + operands[1]
    elif code == "FULLY_CONNECTED":
        exact = x @ operands[1].T + operands[2]
    else:
        depthwise = code == "DEPTHWISE_CONV_2D"
        w = operands[1].transpose(3, 0, 1, 2) if depthwise else operands[1].transpose(0, 3, 1, 2)
        stride = (options["strideH"], options["strideW"])
        pads = [_same(size, k, s) for size, k, s in zip(x.shape[1:3], w.shape[2:], stride)]
        flat = [*pads[1], *pads[0]] if options["padding"] == "SAME" else [0] * 4
        image = f.pad(torch.from_numpy(x.transpose(0, 3, 1, 2)), flat)
        result = f.conv2d(
            image, torch.from_numpy(np.ascontiguousarray(w)), torch.from_numpy(operands[2]), stride,
            groups=x.shape[3] if depthwise else 1,
        )  # fmt: skip
        exact = result.numpy().transpose(0, 2, 3, 1)
    low, high = {"NONE": (-np.inf, np.inf), "RELU": (0, np.inf), "RELU6": (0, 6)}[options["fusedActivationFunction"]]
    return np.clip(exact, low, high)


def _same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def test_float_islands_are_dequantized_and_quantized_again(graph_of: GraphOf, run: Answer) -> None:
    nodes = [
        *quantizer("x", "a", "in"),
        helper.make_node("Relu", ["a"], ["b"]),
        *quantizer("b", "c", "in"),
        helper.make_node("Exp", ["c"], ["d"]),
        *quantizer("d", "e", "out"),
        helper.make_node("Relu", ["e"], ["f"]),
        *quantizer("f", "y", "out"),
    ]
    constants = scales(**{"in": (0.02, -128), "out": (0.5, -128)})
    model = graph_of(nodes, {"x": (1, 8)}, {"y": (1, 8)}, constants)
    converted = convert(ir.from_proto(model))
    codes = [op.code for op in converted.ops]
    assert codes == ["QUANTIZE", "RELU", "DEQUANTIZE", "EXP", "QUANTIZE", "RELU", "DEQUANTIZE"]
    assert converted.notes["float_ops"] == ["Exp_5 (Exp)"]
    x = np.linspace(-2, 5, 8, dtype=np.float32)[None]
    assert np.allclose(run(converted.content, {"x": x}, "builtin")["y"], truth(model, {"x": x})["y"], atol=0.5)


KERNELS: dict[str, tuple[str, tuple[int, ...], dict[str, Any]]] = {
    "padded": ("Conv", (6, 4, 3, 3), {"pads": [1, 1, 0, 2], "strides": [2, 2]}),
    "groups": ("Conv", (6, 2, 3, 3), {"group": 2}),
    "multiplier": ("Conv", (8, 1, 3, 3), {"group": 4, "pads": [1] * 4}),
    "dilated": ("Conv", (6, 4, 3, 3), {"dilations": [2, 2], "pads": [2] * 4}),
    "transposed": ("ConvTranspose", (4, 6, 2, 2), {"strides": [2, 2]}),
}


@pytest.mark.parametrize("kernel", KERNELS)
def test_int8_convolution_is_within_a_step_everywhere(kernel: str, graph_of: GraphOf, run: Answer) -> None:
    op, weight_shape, attributes = KERNELS[kernel]
    generator = np.random.default_rng(4)
    axis = 0 if op == "Conv" else 1
    channels, shape = weight_shape[axis], (1, 4, 8, 8)
    weight_scale = generator.uniform(0.001, 0.01, channels).astype(np.float32)
    constants = scales(**{"in": IN, "out": (0.1, -5)}) | {
        "w": generator.integers(-127, 128, weight_shape, np.int8),
        "w_scale": weight_scale,
        "w_zero": np.zeros(channels, np.int8),
        "bias": generator.integers(-900, 900, channels, np.int32),
        "bias_scale": np.float32(IN[0]) * weight_scale,
        "bias_zero": np.zeros(channels, np.int32),
    }
    nodes = [
        *quantizer("x", "a", "in"),
        helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["wd"], axis=axis),
        helper.make_node("DequantizeLinear", ["bias", "bias_scale", "bias_zero"], ["bd"], axis=0),
        helper.make_node(op, ["a", "wd", "bd"], ["c"], **attributes),
        *quantizer("c", "output", "out"),
    ]
    x = generator.uniform(-6, 6, shape).astype(np.float32)
    model = graph_of(nodes, {"x": shape}, {"output": ()}, constants)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    wanted = truth(model, {"x": x})["output"]
    converted = convert(ir.from_proto(graph_of(nodes, {"x": shape}, {"output": wanted.shape}, constants)))
    assert converted.notes["heavy_int8_share"] == 1.0
    for runtime in RUNTIMES:
        given = run(converted.content, {"x": x}, runtime)["output"]
        assert np.abs(given - wanted).max() <= STEPS * np.float32(0.1) * 1.001, runtime
    assert np.ptp(wanted) > 10


def _linear(graph_of: GraphOf, tail: list[Node], out: str, bias_scale: float = 0.05 * 0.01) -> ModelProto:
    nodes = [
        *quantizer("x", "a", "in"),
        helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["wd"], axis=0),
        helper.make_node("DequantizeLinear", ["bias", "bias_scale", "bias_zero"], ["bd"], axis=0),
        helper.make_node("Gemm", ["a", "wd", "bd"], ["g"], transB=1),
        *tail,
    ]
    constants: Arrays = scales(**{"in": IN, "out": OUT}) | {
        "w": np.arange(-12, 12, dtype=np.int8).reshape(3, 8),
        "w_scale": np.full(3, 0.01, np.float32),
        "w_zero": np.zeros(3, np.int8),
        "bias": np.array([5, -5, 9], np.int32),
        "bias_scale": np.full(3, bias_scale, np.float32),
        "bias_zero": np.zeros(3, np.int32),
    }
    used = {name for node in nodes for name in node.input}
    return graph_of(nodes, {"x": (1, 8)}, {out: (1, 3)}, {k: v for k, v in constants.items() if k in used})


def test_quantized_weights_that_would_run_in_float_are_an_error(graph_of: GraphOf) -> None:
    with pytest.raises(Error, match=r"would run in float:\n  Gemm_4 \(Gemm\): its output g is used before it is quant"):
        convert(ir.from_proto(_linear(graph_of, [helper.make_node("Exp", ["g"], ["y"])], "y")))
    served = convert(ir.from_proto(_linear(graph_of, quantizer("g", "y", "out"), "y")))
    assert served.notes["heavy_int8_share"] == 1.0


def test_a_bias_at_another_scale_is_an_error(graph_of: GraphOf) -> None:
    with pytest.raises(Error, match=r"scale of its bias is not scale\(input\)"):
        convert(ir.from_proto(_linear(graph_of, quantizer("g", "y", "out"), "y", bias_scale=0.001)))


def test_where_a_kernel_cannot_rescale_the_operator_runs_in_float_and_is_named(graph_of: GraphOf) -> None:
    nodes = [
        *quantizer("x", "a", "in"),
        helper.make_node("MaxPool", ["a"], ["b"], kernel_shape=[2, 2]),
        *quantizer("b", "y", "out"),
    ]
    model = graph_of(nodes, {"x": (1, 1, 4, 4)}, {"y": (1, 1, 3, 3)}, scales(**{"in": IN, "out": OUT}))
    notes = convert(ir.from_proto(model)).notes
    assert (notes["int8_ops"], notes["float_ops"]) == (0, [])


def test_a_dequantizer_that_disagrees_with_its_quantizer_is_an_error(graph_of: GraphOf) -> None:
    nodes = quantizer("x", "y", "in")
    nodes[1].input[1] = "out_scale"
    model = graph_of(nodes, {"x": (1, 4)}, {"y": (1, 4)}, scales(**{"in": IN}) | {"out_scale": np.float32(0.3)})
    with pytest.raises(Error, match="two quantizations"):
        convert(ir.from_proto(model))


def test_unsigned_quantization_within_a_float_graph_is_arithmetic(graph_of: GraphOf, run: Answer) -> None:
    """TFLite's int8 kernels take int8; `recode` shifts the codes of a quantized graph before."""
    constants = {"in_scale": np.float32(0.1), "in_zero": np.uint8(3)}
    model = graph_of(quantizer("x", "y", "in"), {"x": (1, 5)}, {"y": (1, 5)}, constants)
    converted = convert(ir.from_proto(model))
    assert converted.notes["int8_ops"] == 0 and "QUANTIZE" not in converted.notes["ops"]
    x = np.array([[-1, 0.05, 0.15, 3.1, 99]], np.float32)
    codes = np.clip(np.rint(x / np.float32(0.1)) + 3, 0, 255)
    for runtime in ("xnnpack", "builtin", "legacy"):
        np.testing.assert_allclose(run(converted.content, {"x": x}, runtime)["y"], (codes - 3) * np.float32(0.1))


def test_int8_cases_name_int8_kernels() -> None:
    assert set(CASES) <= INT8_KERNELS
