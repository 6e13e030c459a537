"""Each pass on its own: the list of operators before → after, and answers unchanged in onnxruntime."""

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime  # type: ignore[import-untyped]
import pytest
from numpy.typing import NDArray

from edgewright.errors import BadModel
from edgewright.export.onnx.graph import shape_of
from edgewright.export.onnx.passes.activations import unify_activations
from edgewright.export.onnx.passes.batchnorm import fold_batchnorm
from edgewright.export.onnx.passes.composites import fuse_composites
from edgewright.export.onnx.passes.constants import lift_constants
from edgewright.export.onnx.passes.control_flow import fold_control_flow
from edgewright.export.onnx.passes.dead_code import remove_dead_code
from edgewright.export.onnx.passes.folding import fold_constants
from edgewright.export.onnx.passes.inline import inline_functions
from edgewright.export.onnx.passes.last_step import read_last_state
from edgewright.export.onnx.passes.linear import unify_linear
from edgewright.export.onnx.passes.names import tidy_names
from edgewright.export.onnx.passes.no_ops import remove_no_ops
from edgewright.export.onnx.passes.padding import fuse_padding
from edgewright.export.onnx.passes.pooling import pool_globally
from edgewright.export.onnx.passes.reshapes import merge_reshapes
from edgewright.export.onnx.passes.shapes import infer_shapes, require_static
from edgewright.export.onnx.passes.sharing import share_initializers
from edgewright.export.onnx.passes.transposes import merge_transposes
from edgewright.export.onnx.passes.upgrade import upgrade_opset
from edgewright.export.onnx.simplify import PASSES

Answers = dict[str, NDArray[np.float32]]
Pass = Callable[[ir.Model], int]


def floats(*shape: int, seed: int = 0, positive: bool = False) -> str:
    """Seeded values in the text syntax of onnx."""
    values = np.random.default_rng(seed).uniform(0.5 if positive else -1, 1.5, int(np.prod(shape)))
    return "{" + ", ".join(f"{value:.5f}" for value in values) + "}"


def parse(text: str, opset: int = 21) -> ir.Model:
    """A model from ``(inputs) => (outputs) <initializers> { nodes }``."""
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : {opset}]> agraph {text}')
    onnx.checker.check_model(proto)
    model = ir.from_proto(proto)
    infer_shapes(model)
    return model


def answers(model: ir.Model) -> Answers:
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(7)
    feeds = {value.name: generator.normal(size=value.shape).astype(np.float32) * 4 for value in session.get_inputs()}
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def ops(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


BN = f"float[4] g = {floats(4, seed=1)}, float[4] b = {floats(4, seed=2)}, float[4] m = {floats(4, seed=3)}"
BN += f", float[4] v = {floats(4, seed=4, positive=True)}"

EXAMPLES: dict[str, tuple[Pass, str, list[str]]] = {
    "If of a constant": (
        fold_control_flow,
        "(float[4] x) => (float[4] y) <bool c = {0}> { y = If(c) <"
        "then_branch = t () => (float[4] p) { p = Exp(x) }, else_branch = e () => (float[4] q) { q = Sin(x) }> }",
        ["Sin"],
    ),
    "Loop of two steps": (
        fold_control_flow,
        "(float[4] x) => (float[4] y) <int64 n = {2}, bool c = {1}> { y = Loop(n, c, x) <"
        "body = b (int64 i, bool g, float[4] s) => (bool h, float[4] t) { h = Identity(g) t = Sin(s) }> }",
        ["Sin", "Sin"],
    ),
    "Loop of many steps stays": (
        fold_control_flow,
        "(float[4] x) => (float[4] y) <int64 n = {20}, bool c = {1}> { y = Loop(n, c, x) <"
        "body = b (int64 i, bool g, float[4] s) => (bool h, float[4] t) { h = Identity(g) t = Sin(s) }> }",
        ["Loop"],
    ),
    "last step of a recurrent layer": (
        read_last_state,
        f"(float[5,2,3] x) => (float[1,2,4] y) <float[1,4,3] w = {floats(1, 4, 3)}, float[1,4,4] r = {floats(1, 4, 4)},"
        " int64 i = {-1}> { s, h = RNN<hidden_size=4>(x, w, r) y = Gather<axis=0>(s, i) }",
        ["RNN", "Reshape"],
    ),
    "BN into Conv": (
        fold_batchnorm,
        f"(float[1,2,6] x) => (float[1,4,4] y) <float[4,2,3] w = {floats(4, 2, 3)}, {BN}>"
        "{ c = Conv(x, w) y = BatchNormalization(c, g, b, m, v) }",
        ["Conv"],
    ),
    "BN into ConvTranspose with groups and bias": (
        fold_batchnorm,
        f"(float[1,4,5] x) => (float[1,4,7] y) <float[4,2,3] w = {floats(4, 2, 3)}, float[4] k = {floats(4)}, {BN}>"
        "{ c = ConvTranspose<group=2>(x, w, k) y = BatchNormalization(c, g, b, m, v) }",
        ["ConvTranspose"],
    ),
    "BN into Gemm": (
        fold_batchnorm,
        f"(float[3,5] x) => (float[3,4] y) <float[4,5] w = {floats(4, 5)}, float[4] k = {floats(4)}, {BN}>"
        "{ c = Gemm<transB=1>(x, w, k) y = BatchNormalization(c, g, b, m, v) }",
        ["Gemm"],
    ),
    "a lone BN": (
        fold_batchnorm,
        f"(float[1,4,3,3] x) => (float[1,4,3,3] y) <{BN}>"
        "{ r = Relu(x) y = BatchNormalization<epsilon=0.01>(r, g, b, m, v) }",
        ["Relu", "Mul", "Add"],
    ),
    "BN after a Conv that others read stays apart": (
        fold_batchnorm,
        f"(float[1,2,6] x) => (float[1,4,4] y, float[1,4,4] c) <float[4,2,3] w = {floats(4, 2, 3)}, {BN}>"
        "{ c = Conv(x, w) y = BatchNormalization(c, g, b, m, v) }",
        ["Conv", "Mul", "Add"],
    ),
    "ReLU6 as Min of Max": (
        unify_activations,
        "(float[9] x) => (float[9] y) <float zero = {0}, float six = {6}> { a = Max(x, zero) y = Min(a, six) }",
        ["Clip"],
    ),
    "ReLU6 as Clip of Relu": (
        unify_activations,
        "(float[9] x) => (float[9] y) <float six = {6}> { a = Relu(x) y = Clip(a, , six) }",
        ["Clip"],
    ),
    "a bound as Max": (
        unify_activations,
        "(float[9] x) => (float[9] y) <float low = {-0.4}> { a = LeakyRelu(x) y = Max(low, a) }",
        ["LeakyRelu", "Clip"],
    ),
    "an outer Min of another shape": (
        unify_activations,
        "(float[1] x) => (float[1,1] y) <float[1,1] top = {2}> { y = Min(x, top) }",
        ["Min"],
    ),
    "open Clip": (
        unify_activations,
        "(float[9] x) => (float[9] y) <float zero = {0}, float top = {3.4e38}> { y = Clip(x, zero, top) }",
        ["Relu"],
    ),
    "HardSwish written out": (
        unify_activations,
        "(float[9] x) => (float[9] y) <float three = {3}, float zero = {0}, float six = {6}>"
        "{ a = Add(x, three) c = Clip(a, zero, six) p = Mul(x, c) y = Div(p, six) }",
        ["HardSwish"],
    ),
    "x·sigmoid(x) stays": (
        unify_activations,
        "(float[9] x) => (float[9] y) { s = Sigmoid(x) y = Mul(x, s) }",
        ["Sigmoid", "Mul"],
    ),
    "ReduceMean": (
        pool_globally,
        "(float[1,3,4,5] x) => (float[1,3,1,1] y) <int64[2] axes = {-1, 2}> { y = ReduceMean(x, axes) }",
        ["GlobalAveragePool"],
    ),
    "ReduceMean without kept axes": (
        pool_globally,
        "(float[2,3,4,5] x) => (float[2,3] y) <int64[2] axes = {2, 3}> { y = ReduceMean<keepdims=0>(x, axes) }",
        ["GlobalAveragePool", "Flatten"],
    ),
    "ReduceMean over channels stays": (
        pool_globally,
        "(float[1,3,4,5] x) => (float[1,1,4,5] y) <int64[1] axes = {1}> { y = ReduceMean(x, axes) }",
        ["ReduceMean"],
    ),
    "AveragePool of full size": (
        pool_globally,
        "(float[1,3,4,5] x) => (float[1,3,1,1] y) { y = AveragePool<kernel_shape=[4,5]>(x) }",
        ["GlobalAveragePool"],
    ),
    "AveragePool of a part stays": (
        pool_globally,
        "(float[1,3,4,5] x) => (float[1,3,1,2] y) { y = AveragePool<kernel_shape=[4,4]>(x) }",
        ["AveragePool"],
    ),
    "1-D adaptive pooling moves its Unsqueeze": (
        pool_globally,
        "(float[1,3,8] x) => (float[1,3,1] y) <int64[1] a = {-2}, int64[2] axes = {-1, -2}>"
        "{ u = Unsqueeze(x, a) p = ReduceMean(u, axes) y = Squeeze(p, a) }",
        ["GlobalAveragePool", "Unsqueeze", "Squeeze"],
    ),
    "Unsqueeze, Squeeze": (
        merge_reshapes,
        "(float[1,3,8] x) => (float[1,3,8] y) <int64[1] a = {2}> { u = Unsqueeze(x, a) s = Squeeze(u, a) y = Relu(s) }",
        ["Relu"],
    ),
    "Squeeze, Reshape": (
        merge_reshapes,
        "(float[2,3,4,1] x) => (float[2,12] y) <int64[1] a = {3}, int64[2] to = {2, -1}>"
        "{ s = Squeeze(x, a) r = Reshape(s, to) y = Relu(r) }",
        ["Flatten", "Relu"],
    ),
    "Reshape, Reshape": (
        merge_reshapes,
        "(float[2,3,4] x) => (float[4,3,2] y) <int64[1] flat = {-1}, int64[3] to = {4, 3, 2}>"
        "{ r = Reshape(x, flat) y = Reshape(r, to) }",
        ["Reshape"],
    ),
    "MatMul, Add": (
        unify_linear,
        f"(float[3,5] x) => (float[3,4] y) <float[5,4] w = {floats(5, 4)}, float[4] b = {floats(4)}>"
        "{ p = MatMul(x, w) y = Add(b, p) }",
        ["Gemm"],
    ),
    "Gemm with alpha, beta and a scalar bias": (
        unify_linear,
        f"(float[3,5] x) => (float[3,4] y) <float[5,4] w = {floats(5, 4)}, float[1] b = {{2}}>"
        "{ y = Gemm<alpha=0.5, beta=3.0>(x, w, b) }",
        ["Gemm"],
    ),
    "MatMul of rank 3 stays": (
        unify_linear,
        f"(float[1,3,5] x) => (float[1,3,4] y) <float[5,4] w = {floats(5, 4)}, float[4] b = {floats(4)}>"
        "{ p = MatMul(x, w) y = Add(p, b) }",
        ["MatMul", "Add"],
    ),
    "GELU by erf": (
        fuse_composites,
        "(float[2,5] x) => (float[2,5] y) <float r = {1.4142135}, float one = {1}, float half = {0.5}>"
        "{ d = Div(x, r) e = Erf(d) s = Add(one, e) p = Mul(x, s) y = Mul(p, half) }",
        ["Gelu"],
    ),
    "GELU by tanh": (
        fuse_composites,
        "(float[2,5] x) => (float[2,5] y) <float three = {3}, float c = {0.044715}, float r = {0.7978846}, "
        "float one = {1}, float half = {0.5}> { q = Pow(x, three) k = Mul(c, q) a = Add(x, k) m = Mul(a, r) "
        "t = Tanh(m) s = Add(t, one) h = Mul(half, s) y = Mul(x, h) }",
        ["Gelu"],
    ),
    "erf with another factor is no GELU": (
        fuse_composites,
        "(float[2,5] x) => (float[2,5] y) <float r = {1.5}, float one = {1}, float half = {0.5}>"
        "{ d = Div(x, r) e = Erf(d) s = Add(e, one) p = Mul(x, s) y = Mul(p, half) }",
        ["Div", "Erf", "Add", "Mul", "Mul"],
    ),
    "layer normalization spelled out": (
        fuse_composites,
        f"(float[2,5] x) => (float[2,5] y) <int64[1] a = {{-1}}, float two = {{2}}, float e = {{0.001}}, "
        f"float[5] g = {floats(5)}, float[5] b = {floats(5, seed=1)}> {{ m = ReduceMean(x, a) d = Sub(x, m) "
        "q = Pow(d, two) v = ReduceMean(q, a) w = Add(v, e) r = Sqrt(w) n = Div(d, r) s = Mul(n, g) y = Add(s, b) }",
        ["LayerNormalization"],
    ),
    "a sum after layer normalization is no bias": (
        fuse_composites,
        f"(float[2,5] x) => (float[2,5] y) <float[5] g = {floats(5)}>{{ n = LayerNormalization(x, g) y = Add(n, x) }}",
        ["LayerNormalization", "Add"],
    ),
    "Transpose there and back": (
        merge_transposes,
        "(float[1,2,3] x) => (float[1,2,3] y)"
        "{ t = Transpose<perm=[0,2,1]>(x) u = Transpose<perm=[0,2,1]>(t) y = Relu(u) }",
        ["Relu"],
    ),
    "two Transposes that add up": (
        merge_transposes,
        "(float[2,3,4] x) => (float[4,2,3] y){ t = Transpose<perm=[1,2,0]>(x) y = Transpose<perm=[1,2,0]>(t) }",
        ["Transpose"],
    ),
    "Pad of zeros": (
        fuse_padding,
        f"(float[1,2,6] x) => (float[1,4,7] y) <float[4,2,3] w = {floats(4, 2, 3)}, int64[6] p = {{0,0,1,0,0,2}}>"
        "{ q = Pad(x, p) y = Conv(q, w) }",
        ["Conv"],
    ),
    "Pad of ones stays": (
        fuse_padding,
        f"(float[1,2,6] x) => (float[1,4,7] y)"
        f"<float[4,2,3] w = {floats(4, 2, 3)}, int64[6] p = {{0,0,1,0,0,2}}, float one = {{1}}>"
        "{ q = Pad(x, p, one) y = Conv(q, w) }",
        ["Pad", "Conv"],
    ),
    "Dropout, Identity and neutral constants": (
        remove_no_ops,
        "(float[4] x) => (float[4] y) <float zero = {0}, float one = {1}>"
        "{ d = Dropout(x) i = Identity(d) a = Add(i, zero) m = Mul(one, a) c = Cast<to=1>(m) y = Relu(c) }",
        ["Relu"],
    ),
    "a Pad that shifts stays": (
        remove_no_ops,
        "(float[4] x) => (float[4] y) <int64[2] p = {1, -1}> { y = Pad(x, p) }",
        ["Pad"],
    ),
    "an epsilon under a logarithm": (
        remove_no_ops,
        "(float[4] x) => (float[4] y) <float tiny = {1e-10}, float near = {1.00001}>"
        "{ s = Mul(x, x) m = Mul(s, near) a = Add(m, tiny) y = Log(a) }",
        ["Mul", "Mul", "Add", "Log"],
    ),
    "a Pad and a pool of nothing": (
        remove_no_ops,
        "(float[1,2,4] x) => (float[1,2,4] y) <int64[6] p = {0,0,0,0,0,0}>"
        "{ q = Pad(x, p) m = MaxPool<kernel_shape=[1]>(q) y = Relu(m) }",
        ["Relu"],
    ),
    "a pool of one that strides stays": (
        remove_no_ops,
        "(float[1,2,4] x) => (float[1,2,2] y) { y = MaxPool<kernel_shape=[1], strides=[2]>(x) }",
        ["MaxPool"],
    ),
    "constants as nodes": (
        lift_constants,
        "(float[4] x) => (float[4] y) { c = Constant<value = float[4] {1, 2, 3, 4}>() y = Add(x, c) }",
        ["Add"],
    ),
    "arithmetic on constants": (
        fold_constants,
        f"(float[2] x) => (float[2] y) <float[4] w = {floats(4)}, int64[1] s = {{1}}, int64[1] e = {{3}}>"
        "{ p = Slice(w, s, e) q = Neg(p) y = Add(x, q) }",
        ["Add"],
    ),
    "a quantized weight is not folded": (
        fold_constants,
        "(float[2] x) => (float[2] y) <int8[2] w = {3, -5}, float s = {0.5}>"
        "{ q = DequantizeLinear(w, s) y = Add(x, q) }",
        ["DequantizeLinear", "Add"],
    ),
    "a codebook is not folded": (
        fold_constants,
        "(float[6] x) => (float[6] y) <float[2] book = {-0.5, 0.25}, int64[6] codes = {0, 1, 1, 0, 1, 0}>"
        "{ w = Gather(book, codes) y = Add(x, w) }",
        ["Gather", "Add"],
    ),
    "what no output needs": (
        remove_dead_code,
        "(float[4] x) => (float[4] y) <float[4] unused = {1, 2, 3, 4}> { e = Exp(x) y = Relu(x) }",
        ["Relu"],
    ),
    "equal constants": (
        share_initializers,
        "(float[2] x) => (float[2] y) <float[2] a = {1, 2}, float[2] b = {1, 2}> { s = Add(x, a) y = Add(s, b) }",
        ["Add", "Add"],
    ),
}
SAME_OPS = {"Gemm with alpha, beta and a scalar bias", "equal constants"}


@pytest.mark.parametrize("case", EXAMPLES)
def test_before_after(case: str) -> None:
    run, text, wanted = EXAMPLES[case]
    model = parse(text)
    before, old_ops = answers(model), ops(model)
    count = run(model)
    remove_dead_code(model)  # a pass may leave what it read past
    assert ops(model) == wanted
    assert (count > 0) == (old_ops != wanted or case in SAME_OPS)
    after = answers(model)
    assert list(after) == list(before)
    for name, value in before.items():
        np.testing.assert_allclose(after[name], value, rtol=2e-5, atol=2e-5)


def test_two_outputs_of_one_value_keep_their_names() -> None:
    model = parse("(float[4] x) => (float[4] a, float[4] b) { a = Relu(x) d = Dropout(a) b = Identity(d) }")
    remove_no_ops(model)
    assert ops(model) == ["Relu", "Identity"]
    given = answers(model)
    np.testing.assert_array_equal(given["a"], given["b"])


def test_every_pass_has_a_test() -> None:
    named = {run.__name__ for run, _, _ in EXAMPLES.values()}
    own_tests = {
        "place_windows",
        "inline_functions",
        "upgrade_opset",
        "infer_shapes",
        "require_static",
        "tidy_names",
        "spell_out",
    }
    assert {one.__name__ for one in PASSES} == named | own_tests


def test_linear_ends_as_rows_with_plain_factors() -> None:
    model = parse(EXAMPLES["Gemm with alpha, beta and a scalar bias"][1])
    unify_linear(model)
    (gemm,) = model.graph
    assert {name: attribute.value for name, attribute in gemm.attributes.items()} == {"transB": 1}
    assert [shape_of(value) for value in gemm.inputs[1:]] == [(4, 5), (4,)]


def test_shared_constants_are_stored_once() -> None:
    model = parse(EXAMPLES["equal constants"][1])
    assert share_initializers(model) == 1
    assert list(model.graph.initializers) == ["a"]


def test_functions_are_inlined() -> None:
    text = """<ir_version: 10, opset_import: ["" : 21, "local" : 1]> agraph (float[4] x) => (float[4] y)
        { y = local.block(x) } <domain: "local", opset_import: ["" : 21]> block (a) => (b) { c = Neg(a) b = Relu(c) }"""
    model = ir.from_proto(onnx.parser.parse_model(text))
    before = answers(model)
    assert inline_functions(model) == 1
    assert ops(model) == ["Neg", "Relu"]
    np.testing.assert_array_equal(answers(model)["y"], before["y"])


def test_old_opset_is_lifted() -> None:
    model = parse("(float[1,3,4,5] x) => (float[1,3,1,1] y) { y = ReduceMean<axes=[2,3]>(x) }", opset=13)
    before = answers(model)
    assert upgrade_opset(model) == 1
    assert model.opset_imports[""] == 21
    (mean,) = (node for node in model.graph if node.op_type == "ReduceMean")
    assert "axes" not in mean.attributes
    assert len(mean.inputs) == 2
    np.testing.assert_allclose(answers(model)["y"], before["y"], rtol=1e-6)
    assert upgrade_opset(model) == 0


def test_an_opset_that_cannot_be_lifted_is_refused() -> None:
    text = '<ir_version: 3, opset_import: ["" : 1]> agraph (float[4] x) => (float[4] y) { y = ImageScaler(x) }'
    with pytest.raises(BadModel, match=r"opset 1 cannot be converted to 21.*export the model"):
        upgrade_opset(ir.from_proto(onnx.parser.parse_model(text)))


def test_shapes_are_inferred() -> None:
    proto = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 21]> agraph (float[1,3,4] x) => (float[1,3,4] y)'
        "{ a = Relu(x) b = Relu(a) y = Relu(b) }"
    )
    model = ir.from_proto(proto)
    assert infer_shapes(model) == 2
    assert [shape_of(node.outputs[0]) for node in model.graph] == [(1, 3, 4)] * 3


def test_open_shapes_are_all_named() -> None:
    model = parse("(float[4] x) => (int64[1,n] i, float[m] y) { i = NonZero(x) f = Cast<to=1>(i) y = Unique(f) }")
    with pytest.raises(BadModel, match=r"(?s)3 tensor\(s\).*NonZero 'i'.*Cast 'f'.*Unique 'y'"):
        require_static(model)


def test_names_are_unique_and_say_nothing_of_the_machine() -> None:
    model = parse("(float[4] x) => (float[4] y) { a = Relu(x) y = Relu(a) }")
    model.graph.metadata_props["trace"] = "/somewhere/model.py"
    first, second = model.graph
    first.name, second.name, second.doc_string = "same", "same", "secret"
    second.metadata_props["trace"] = "/somewhere/model.py"
    tidy_names(model)
    assert len({node.name for node in model.graph}) == 2
    text = str(ir.to_proto(model))
    assert "somewhere" not in text
    assert "secret" not in text
    first.name = ""
    assert tidy_names(model) == 1
    assert first.name == "Relu_a"
