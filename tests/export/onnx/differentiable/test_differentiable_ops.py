"""Every rule against the operator's schema and onnx's own node cases."""

import importlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import onnx.backend.test.case.node as node_cases
import onnx_ir as ir
import pytest
import torch
from onnx import version_converter

from edgewright.errors import UnsupportedOps
from edgewright.export.lowering import INTERNAL_OPSET, schema_problems
from edgewright.export.onnx.differentiable.graph import TorchGraph
from edgewright.export.onnx.differentiable.rules import TORCH
from edgewright.export.onnx.quantize.plan import INT8_OPS

PASSING_AT_LEAST = {
    "activation": 35,
    "conv": 14,
    "elementwise": 130,
    "linear": 11,
    "normalization": 25,
    "pool": 34,
    "quantize": 2,
    "reduce": 40,
    "resize": 16,
    "shape": 100,
}
"""Cases by the file of `ops` that holds the rule of their operator."""

MODULES = {
    "And": "and_",
    "BatchNormalization": "batch_normalization",
    "GreaterOrEqual": "greater_or_equal",
    "LayerNormalization": "layernormalization",
    "GroupNormalization": "groupnormalization",
    "InstanceNormalization": "instance_normalization",
    "LessOrEqual": "less_or_equal",
    "Not": "not_",
    "Or": "or_",
}
DTYPES = frozenset({"float32", "int32", "int64", "bool", "uint8", "int8"})
Case = tuple[str, onnx.ModelProto, tuple[Any, ...], tuple[Any, ...]]


def test_signatures_are_those_of_the_operators() -> None:
    assert schema_problems(TORCH.rules()) == []


def test_every_int8_operator_has_a_rule() -> None:
    assert set(INT8_OPS) - set(TORCH.rules()) == set()


@pytest.mark.parametrize("family", PASSING_AT_LEAST)
@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::DeprecationWarning")
def test_onnx_node_cases(family: str) -> None:
    verdicts = {name: _verdict(model, given, wanted) for name, model, given, wanted in _cases(family)}
    wrong = {name: verdict for name, verdict in verdicts.items() if verdict not in ("passed", "refused")}
    passed = sum(verdict == "passed" for verdict in verdicts.values())
    assert wrong == {}
    assert passed >= PASSING_AT_LEAST[family], f"{passed} of {len(verdicts)}"


def _cases(family: str) -> Iterator[Case]:
    ops = [op for op, rule in TORCH.rules().items() if rule.owner.split(".")[-2] == family]
    for op in ops:
        importlib.import_module(f"onnx.backend.test.case.node.{MODULES.get(op, op.lower())}")
    for case in node_cases._NodeTestCases:
        nodes = case.model.graph.node
        given, wanted = case.data_sets[0]
        plain = all(isinstance(array, np.ndarray) and str(array.dtype) in DTYPES for array in (*given, *wanted))
        if "_expanded" not in case.name and len(nodes) == 1 and nodes[0].op_type in ops and plain:
            model = _at_internal_opset(case.model)
            if model is not None:
                yield case.name, model, given, wanted


def _at_internal_opset(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """None where the case uses what came after the internal opset."""
    version = next(opset.version for opset in model.opset_import if opset.domain in ("", "ai.onnx"))
    if version <= INTERNAL_OPSET:
        return version_converter.convert_version(model, INTERNAL_OPSET)
    older = onnx.ModelProto()
    older.CopyFrom(model)
    for opset in older.opset_import:
        opset.version = INTERNAL_OPSET
    try:
        onnx.checker.check_model(older)
    except onnx.checker.ValidationError:
        return None
    return older


def _verdict(proto: onnx.ModelProto, given: tuple[Any, ...], wanted: tuple[Any, ...]) -> str:
    model = ir.from_proto(proto)
    feed = {
        value.name: torch.from_numpy(np.array(array)) for value, array in zip(proto.graph.input, given, strict=True)
    }
    try:
        graph = TorchGraph(model, {})
        answers = graph.walk(feed)
    except UnsupportedOps as refusal:
        assert refusal.missing
        return "refused"
    for value, array in zip(proto.graph.output, wanted, strict=True):
        answer = answers[value.name].numpy()
        codes = proto.graph.node[0].op_type == "QuantizeLinear"
        if answer.shape != array.shape or (answer.dtype != array.dtype and not codes):
            return f"{answer.dtype}{answer.shape}, not {array.dtype}{array.shape}"
        if not np.allclose(answer, array, rtol=1e-3, atol=1e-6, equal_nan=True):
            return f"{answer.ravel()[:6]}, not {array.ravel()[:6]}"
    return "passed"
