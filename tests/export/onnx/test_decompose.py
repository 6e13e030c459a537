"""Expansions and newer opsets: what stands in an operator's place answers as torch or onnx's own definitions do."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edgewright.errors import BadModel
from edgewright.export.lowering import INTERNAL_OPSET
from edgewright.export.onnx.bodies import inline_bodies
from edgewright.export.onnx.decompose import decompose
from edgewright.export.onnx.passes.spelling import spell_out
from edgewright.export.onnx.passes.upgrade import upgrade_opset
from edgewright.export.onnx.simplify import simplify

Arrays = Mapping[str, NDArray[Any]]


def model_of(
    nodes: list[onnx.NodeProto],
    inputs: Arrays,
    constants: Arrays | None = None,
    outputs: Mapping[str, int] | None = None,
    opset: int = INTERNAL_OPSET,
) -> ir.Model:
    """`outputs` maps names to element types; by default y in float32."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for n, a in inputs.items()
        ],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in (outputs or {"y": 1}).items()],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto))


def answers(model: ir.Model, inputs: Arrays) -> list[NDArray[Any]]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), options)
    return list(session.run(None, dict(inputs)))


def all_but(*ops: str) -> Callable[[ir.Node], bool]:
    return lambda node: node.op_type not in ops


def ops(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


GRIDS: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], list[float]]] = {
    "Sinh": (torch.sinh, [-89.2, -5, -0.9, -1e-4, 0, 1e-7, 0.3, 1.1, 89.2]),
    "Cosh": (torch.cosh, [-89.2, -1, 0, 0.1, 5, 89.2]),
    "Tan": (torch.tan, [-1.5, -0.1, 0, 1e-5, 0.7]),
    "Asinh": (torch.asinh, [-1e30, -3, -1e-5, 0, 1e-3, 0.9, 1e12]),
    "Acosh": (torch.acosh, [1, 1.0001, 1.5, 40, 1e12, 1e30]),
    "Atanh": (torch.atanh, [-1, -0.9999, -0.3, -1e-6, 0, 0.5, 1]),
    "Erf": (torch.erf, [-9, -3.9, -1, -1e-4, 0, 1e-6, 0.5, 2, 5]),
    "Selu": (torch.nn.functional.selu, [-9, -1e-4, 0, 0.5, 9]),
    "Celu": (torch.celu, [-9, -1e-4, 0, 0.5, 9]),
}


BOUNDED = ("Erf", "Selu", "Celu")
"""Whose error is small beside 1: of the fit, and of onnxruntime's own Elu."""


@pytest.mark.parametrize("op", GRIDS)
def test_functions_neither_overflow_nor_cancel(op: str) -> None:
    function, points = GRIDS[op]
    x = np.array([*points, *np.linspace(min(points), max(points), 200)], np.float32)
    model = model_of([helper.make_node(op, ["x"], ["y"])], {"x": x})
    assert decompose(model, all_but(op)) == 1
    assert op not in ops(model)
    wanted = function(torch.from_numpy(x).double()).float().numpy()
    np.testing.assert_allclose(answers(model, {"x": x})[0], wanted, rtol=4e-6, atol=4e-7 if op in BOUNDED else 0)


def test_softplus_of_large_values() -> None:
    x = np.array([-200, -1, 0, 1, 200], np.float32)
    model = model_of([helper.make_node("Softplus", ["x"], ["y"])], {"x": x})
    decompose(model, all_but("Softplus"))
    wanted = torch.nn.functional.softplus(torch.from_numpy(x).double()).numpy()
    np.testing.assert_allclose(answers(model, {"x": x})[0], wanted, atol=2e-7)


EQUATIONS = {
    "ij,jk->ik": [(2, 3), (3, 4)],
    "ij,jk": [(2, 3), (3, 4)],
    "ii->i": [(3, 3)],
    "iji->j": [(3, 2, 3)],
    "ij->": [(2, 3)],
    "i,j->ij": [(3,), (4,)],
    "i,i->": [(3,), (3,)],
    "bhqd,bhkd->bhqk": [(2, 2, 3, 4), (2, 2, 5, 4)],
    "...ij,...jk->...ik": [(2, 1, 3, 4), (5, 4, 2)],
    "a b c, c d -> a b d": [(2, 3, 4), (4, 5)],
    "abc,cd,de->abe": [(2, 3, 4), (4, 5), (5, 2)],
    "ij,ij,ij->i": [(2, 3), (2, 3), (2, 3)],
}


@pytest.mark.parametrize("equation", EQUATIONS)
def test_einsum(equation: str, random: np.random.Generator) -> None:
    shapes = EQUATIONS[equation]
    inputs = {f"x{n}": random.normal(size=shape).astype(np.float32) for n, shape in enumerate(shapes)}
    model = model_of([helper.make_node("Einsum", list(inputs), ["y"], equation=equation)], inputs)
    assert spell_out(model) == 1
    assert "Einsum" not in ops(model)
    wanted = torch.einsum(equation, *(torch.from_numpy(array) for array in inputs.values())).numpy()
    np.testing.assert_allclose(answers(model, inputs)[0], wanted, rtol=1e-5, atol=1e-6)


def test_a_product_over_many_bytes_is_exact(random: np.random.Generator) -> None:
    inputs = {"a": random.integers(0, 256, (2, 700), np.uint8), "b": random.integers(0, 256, (700, 3), np.uint8)}
    inputs["a"][0], inputs["b"][:, 0] = 255, 255
    node = helper.make_node("MatMulInteger", ["a", "b", "p", "q"], ["y"])
    model = model_of([node], inputs, {"p": np.uint8(0), "q": np.uint8(3)}, {"y": 6})
    decompose(model, all_but("MatMulInteger"))
    wanted = inputs["a"].astype(np.int32) @ (inputs["b"].astype(np.int32) - 3)
    np.testing.assert_array_equal(answers(model, inputs)[0], wanted)


def test_a_spectrum_is_one_product(random: np.random.Generator) -> None:
    x = random.normal(size=(2, 12, 1)).astype(np.float32)
    node = helper.make_node("DFT", ["x", "", "axis"], ["y"], onesided=1)
    model = model_of([node], {"x": x}, {"axis": np.array(1)})
    decompose(model, all_but("DFT"))
    assert ops(model).count("MatMul") == 1
    wanted = np.fft.rfft(x[..., 0].astype(np.float64))
    np.testing.assert_allclose(answers(model, {"x": x})[0], np.stack([wanted.real, wanted.imag], -1), atol=1e-5)


def test_bodies_of_two_nodes_keep_their_names_apart() -> None:
    x = np.array([[0.4, -2, 3]], np.float32)
    nodes = [
        helper.make_node("Shrink", ["x"], ["a"], name="one", lambd=1.0),
        helper.make_node("Shrink", ["a"], ["y"], name="two", bias=0.5),
    ]
    model = model_of(nodes, {"x": x})
    assert inline_bodies(model, list(model.graph), INTERNAL_OPSET) == 2
    names = [value.name for node in model.graph for value in node.outputs]
    assert len(names) == len(set(names)) and {"a", "y"} <= set(names)
    assert {str(node.name).split("/")[0] for node in model.graph} == {"one", "two"}
    np.testing.assert_allclose(answers(model, {"x": x})[0], [[0, -1.5, 2.5]])


def test_a_body_refers_to_attributes_at_their_defaults(random: np.random.Generator) -> None:
    x = random.normal(size=(2, 3, 4, 4)).astype(np.float32)
    model = model_of([helper.make_node("MeanVarianceNormalization", ["x"], ["y"])], {"x": x})
    assert decompose(model, all_but("MeanVarianceNormalization")) == 1
    deviation = x - x.mean((0, 2, 3), keepdims=True)
    wanted = deviation / x.std((0, 2, 3), keepdims=True)
    np.testing.assert_allclose(answers(model, {"x": x})[0], wanted, atol=1e-5)


def test_operators_of_inner_graphs_are_expanded_too() -> None:
    x = np.array([0.5, -3], np.float32)
    branch = helper.make_graph(
        [helper.make_node("Mish", ["x"], ["z"])], "branch", [], [helper.make_tensor_value_info("z", 1, (2,))]
    )
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    inputs = {"x": x, "c": np.array(True)}
    model = model_of([node], inputs)
    decompose(model, all_but("Mish", "Softplus"))
    assert not [inner for inner in model.graph.all_nodes() if inner.op_type in ("Mish", "Softplus")]
    wanted = torch.nn.functional.mish(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(answers(model, inputs)[0], wanted, rtol=1e-5)


def test_an_expansion_that_cannot_serve_leaves_the_node() -> None:
    x = np.zeros((2, 5, 5), np.float32)
    model = model_of([helper.make_node("Det", ["x"], ["y"])], {"x": x})
    assert decompose(model, all_but("Det")) == 0
    assert ops(model) == ["Det"]


def test_attention_is_that_of_torch(random: np.random.Generator) -> None:
    """Four heads that read two, causal, after three cached steps."""
    shapes = {"q": (1, 4, 5, 8), "k": (1, 2, 5, 8), "v": (1, 2, 5, 8), "pk": (1, 2, 3, 8), "pv": (1, 2, 3, 8)}
    inputs = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    node = helper.make_node("Attention", ["q", "k", "v", "", "pk", "pv"], ["y", "key", "value"], is_causal=1)
    model = model_of([node], inputs, outputs={"y": 1, "key": 1, "value": 1}, opset=23)
    assert upgrade_opset(model) == 1
    assert model.opset_imports[""] == INTERNAL_OPSET
    assert ops(model).count("MatMul") == 2 and "Softmax" in ops(model)
    key, value = (np.concatenate([inputs[f"p{name}"], inputs[name]], 2) for name in "kv")
    seen = torch.from_numpy(np.tri(5, 8, 3, bool))
    tensors = (torch.from_numpy(inputs["q"]), torch.from_numpy(key), torch.from_numpy(value))
    wanted = torch.nn.functional.scaled_dot_product_attention(*tensors, attn_mask=seen, enable_gqa=True)
    given = answers(model, inputs)
    np.testing.assert_allclose(given[0], wanted.numpy(), atol=1e-6)
    np.testing.assert_array_equal(given[1], key)
    np.testing.assert_array_equal(given[2], value)


def test_a_row_that_sees_nothing_gives_zeros(random: np.random.Generator) -> None:
    inputs: dict[str, NDArray[Any]] = {n: random.normal(size=(1, 1, 3, 4)).astype(np.float32) for n in "qkv"}
    inputs["mask"] = np.array([[True, False, True], [False] * 3, [True] * 3])
    model = model_of([helper.make_node("Attention", [*"qkv", "mask"], ["y"])], inputs, opset=23)
    upgrade_opset(model)
    given = answers(model, inputs)[0][0, 0]
    assert np.isfinite(given).all() and not given[1].any() and given[0].all()


def test_newer_activations_come_down_to_the_internal_opset() -> None:
    x = np.array([[-2, 0.5, 3]], np.float32)
    nodes = [helper.make_node("SwiGLU", ["x", "x"], ["a"]), helper.make_node("RMSNormalization", ["a", "s"], ["y"])]
    model = model_of(nodes, {"x": x}, {"s": np.ones(3, np.float32)}, opset=28)
    simplify(model)
    assert model.opset_imports[""] == INTERNAL_OPSET
    gate = torch.nn.functional.silu(torch.from_numpy(x)) * torch.from_numpy(x)
    wanted = torch.nn.functional.rms_norm(gate, (3,), eps=1e-5).numpy()
    np.testing.assert_allclose(answers(model, {"x": x})[0], wanted, rtol=1e-5)


def test_unchanged_operators_of_a_newer_opset_stay() -> None:
    x = np.ones((1, 2, 4, 4), np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("SpaceToDepth", ["a"], ["y"], blocksize=2, mode="DCR"),
    ]
    model = model_of(nodes, {"x": x}, {"w": np.ones((1, 2, 1, 1), np.float32)}, opset=28)
    upgrade_opset(model)
    assert ops(model) == ["Conv", "SpaceToDepth"]
    assert "mode" not in model.graph[1].attributes  # its default, which the older operator does not have
    np.testing.assert_array_equal(answers(model, {"x": x})[0], np.full((1, 4, 2, 2), 2))


def test_what_has_no_older_form_is_named() -> None:
    nodes = [helper.make_node("BitCast", ["x"], ["y"], name="bits", to=6)]
    model = model_of(nodes, {"x": np.zeros(2, np.float32)}, outputs={"y": 6}, opset=26)
    with pytest.raises(BadModel, match=r"opset 26: these have no form at opset 21(.|\n)*BitCast: 1 × \(bits\)"):
        upgrade_opset(model)


@pytest.mark.parametrize(("op", "mode"), [("Upsample", "nearest"), ("Upsample", "linear"), ("Resize", "linear")])
def test_old_resizes_keep_their_coordinates(op: str, mode: str, random: np.random.Generator) -> None:
    x = random.normal(size=(1, 1, 4, 4)).astype(np.float32)
    scales = np.array([1, 1, 1.5, 1.75], np.float32)
    opset = 9 if op == "Upsample" else 10
    model = model_of([helper.make_node(op, ["x", "s"], ["y"], mode=mode)], {"x": x}, {"s": scales}, opset=opset)
    wanted = answers(model, {"x": x})[0]
    upgrade_opset(model)
    np.testing.assert_allclose(answers(model, {"x": x})[0], wanted, atol=1e-6)
