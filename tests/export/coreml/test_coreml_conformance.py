"""onnx's own node cases through the writer: an answer is right or the case is refused with a reason; none is wrong."""

import gc
import importlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgewright.errors import BadModel, UnsupportedOps
from edgewright.export.coreml.convert import convert
from edgewright.export.coreml.options import CoremlOptions
from edgewright.export.lowering import INTERNAL_OPSET
from tests.export.coreml.evaluator import evaluate

# Module of onnx.backend.test.case.node → the least number of its cases that must be answered.
ANSWERED = {
    "abs": 1,
    "acos": 2,
    "add": 2,
    "and_": 2,
    "asin": 2,
    "atan": 2,
    "atanh": 2,
    "averagepool": 14,
    "batch_normalization": 2,
    "ceil": 2,
    "clip": 9,
    "concat": 12,
    "conv": 6,
    "convtranspose": 8,
    "cos": 2,
    "cosh": 2,
    "depthtospace": 2,
    "div": 3,
    "elu": 3,
    "equal": 2,
    "erf": 1,
    "exp": 2,
    "flatten": 9,
    "floor": 2,
    "gather": 4,
    "gelu": 4,
    "gemm": 11,
    "globalaveragepool": 2,
    "globalmaxpool": 2,
    "greater": 2,
    "greater_or_equal": 2,
    "hardsigmoid": 3,
    "hardswish": 1,
    "identity": 1,
    "instance_normalization": 2,
    "layernormalization": 8,
    "leakyrelu": 3,
    "less": 2,
    "less_or_equal": 2,
    "log": 2,
    "logsoftmax": 7,
    "matmul": 4,
    "max": 6,
    "maxpool": 12,
    "min": 6,
    "mul": 3,
    "neg": 2,
    "not_": 3,
    "or_": 2,
    "pad": 3,
    "pow": 4,
    "prelu": 2,
    "reciprocal": 2,
    "reducel1": 2,
    "reducel2": 2,
    "reducemax": 1,
    "reducemean": 8,
    "reducemin": 1,
    "reduceprod": 2,
    "reducesum": 8,
    "reducesumsquare": 2,
    "relu": 1,
    "reshape": 9,
    "resize": 4,
    "sigmoid": 2,
    "sign": 1,
    "sin": 2,
    "sinh": 2,
    "slice": 7,
    "softmax": 7,
    "softplus": 2,
    "softsign": 2,
    "split": 14,
    "sqrt": 2,
    "squeeze": 2,
    "sub": 3,
    "tan": 2,
    "tanh": 2,
    "transpose": 7,
    "unsqueeze": 5,
    "where": 2,
    "xor": 2,
}


ROWS = {"and_", "or_", "xor", "reducel1", "reducel2", "reducemax", "reducemin", "reduceprod", "reducesumsquare"}
"""Modules whose operators share a rule with a module that runs in full: two cases each."""


def cases(module: str) -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some cases compute their expectation with overflow
        node = importlib.import_module("onnx.backend.test.case.node")
        loaded = importlib.import_module(f"onnx.backend.test.case.node.{module}")
    types = {name.lower() for name in vars(loaded)}
    found = [case for case in node._NodeTestCases if case.model.graph.node[0].op_type.lower() in types]
    usable = [case for case in found if len(case.model.graph.node) == 1 and border_kinds(case.model.graph) <= BORDER]
    return usable[:2] if module in ROWS else usable


def border_kinds(graph: onnx.GraphProto) -> set[int]:
    return {info.type.tensor_type.elem_type for info in (*graph.input, *graph.output)}


def with_constants(case: Any) -> tuple[onnx.ModelProto, dict[str, np.ndarray[Any, Any]]]:
    """The case as a clean model: everything but the first input is a constant, unless it is a second operand."""
    graph = onnx.GraphProto()
    graph.CopyFrom(case.model.graph)
    inputs, _ = case.data_sets[0]
    arrays = {info.name: np.asarray(array) for info, array in zip(graph.input, inputs, strict=True)}
    same = [name for name, array in arrays.items() if array.dtype == inputs[0].dtype and array.size]
    free = same if graph.node[0].op_type in OPERANDS else list(arrays)[:1]
    kept = [info for info in graph.input if info.name in free]
    del graph.input[:]
    graph.input.extend(kept)
    if graph.node[0].op_type == "LayerNormalization":  # its mean and deviation are refused where read
        del graph.output[1:]
    graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in arrays.items() if n not in free)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", INTERNAL_OPSET)])
    return model, {name: arrays[name] for name in free}


BORDER = {TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL}
OPERANDS = {
    "Add", "And", "Concat", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "MatMul", "Max", "Min",
    "Mul", "Or", "Pow", "Sub", "Where", "Xor",
}  # fmt: skip


def outcome(case: Any, folder: Path, opset: str = "iOS17") -> str:
    """`answered`, or why the case was refused. Fails on a wrong answer."""
    model, inputs = with_constants(case)
    source, out = folder / f"{case.name}.onnx", folder / f"{case.name}.mlpackage"
    onnx.save(model, source)
    try:
        convert(source, out, CoremlOptions(opset), np.float32)
    except (UnsupportedOps, BadModel) as refusal:
        return str(refusal)
    held = {
        name: np.atleast_1d(array).astype(np.float32 if array.dtype == np.float32 else np.int32)
        for name, array in inputs.items()
    }
    values = evaluate(out, held)
    for info, expected in zip(case.model.graph.output, case.data_sets[0][1], strict=True):
        if info.name in values:
            actual = values[info.name].reshape(expected.shape)
            np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-5, err_msg=case.name)
    return "answered"


@pytest.fixture(scope="module", autouse=True)
def _few_objects_to_collect() -> Iterator[None]:
    """coremltools collects garbage after every conversion; the modules loaded so far need no looking at."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.parametrize("module", ANSWERED)
def test_no_node_case_is_answered_wrongly(module: str, tmp_path: Path) -> None:
    outcomes = {case.name: outcome(case, tmp_path) for case in cases(module)}
    answered = [name for name, result in outcomes.items() if result == "answered"]
    assert len(answered) >= ANSWERED[module], outcomes
