"""onnx's own node cases: each converts and answers as onnx says, or is refused with a reason; none answers wrongly."""

import importlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnx.backend.test.case.node as node_cases
import onnx_ir as ir
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray
from onnx import numpy_helper, version_converter

from edgewright.errors import UnsupportedOps
from edgewright.export.lowering import INTERNAL_OPSET
from edgewright.export.tflite.convert import convert
from edgewright.export.tflite.rules import TFLITE

PASSING_AT_LEAST = {
    "activation": 26,
    "conv": 9,
    "elementwise": 98,
    "indexing": 46,
    "linear": 15,
    "normalization": 21,
    "pool": 28,
    "quantize": 0,
    "reduce": 42,
    "resize": 12,
    "shape": 35,
}
"""Cases by the file of `ops` that lowers their operator. Computed scales, as in Q and DQ cases, are refused."""

MODULES = {
    "And": "and_",
    "BatchNormalization": "batch_normalization",
    "GreaterOrEqual": "greater_or_equal",
    "LessOrEqual": "less_or_equal",
    "Not": "not_",
    "Or": "or_",
}
"""Case modules that are not named as their operator in lower case."""

DTYPES = frozenset({"float32", "int32", "int64", "bool", "uint8", "int8"})
RELATIVE, ABSOLUTE = 1e-3, 1e-5  # the suite's own rtol; LiteRT's kernels use float32 approximations near 0


class Case(NamedTuple):
    name: str
    model: onnx.ModelProto
    inputs: dict[str, NDArray[Any]]
    outputs: dict[str, NDArray[Any]]


def test_every_family_is_tested() -> None:
    assert {rule.owner.split(".")[-2] for rule in TFLITE.rules().values()} == set(PASSING_AT_LEAST)


@pytest.mark.parametrize("family", PASSING_AT_LEAST)
@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::DeprecationWarning")
def test_onnx_node_cases(family: str) -> None:
    verdicts = {case.name: _verdict(case) for case in _cases(family)}
    wrong = {name: verdict for name, verdict in verdicts.items() if verdict not in ("passed", "refused")}
    passed = sum(verdict == "passed" for verdict in verdicts.values())
    print(family, passed, len(verdicts))
    assert wrong == {}
    assert passed >= PASSING_AT_LEAST[family], f"{passed} of {len(verdicts)}"


def _cases(family: str) -> Iterator[Case]:
    ops = [op for op, rule in TFLITE.rules().items() if rule.owner.split(".")[-2] == family]
    for op in ops:
        importlib.import_module(f"onnx.backend.test.case.node.{MODULES.get(op, op.lower())}")
    for case in node_cases._NodeTestCases:
        nodes = case.model.graph.node
        given, wanted = case.data_sets[0]
        plain = all(isinstance(array, np.ndarray) and str(array.dtype) in DTYPES for array in (*given, *wanted))
        if "_expanded" in case.name or len(nodes) != 1 or nodes[0].op_type not in ops or not plain:
            continue
        model = _at_internal_opset(case.model)
        if model is not None:
            inputs = dict(zip((value.name for value in model.graph.input), given, strict=True))
            yield Case(case.name, model, inputs, dict(zip((v.name for v in model.graph.output), wanted, strict=True)))


def _at_internal_opset(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """None where the case uses what came after the opset that backends see."""
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


def _verdict(case: Case) -> str:
    """As it is, with everything computed; if that is refused, with all but the first input constant, as weights are."""
    for constants in ({}, dict(list(case.inputs.items())[1:])):
        try:
            content = convert(_with_constants(case.model, constants)).content
        except UnsupportedOps as refusal:
            assert refusal.missing
            continue
        feed = {name: array for name, array in case.inputs.items() if name not in constants}
        return _compare(content, feed, case.outputs)
    return "refused"


def _with_constants(model: onnx.ModelProto, constants: Mapping[str, NDArray[Any]]) -> ir.Model:
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    fixed.graph.initializer.extend(numpy_helper.from_array(np.asarray(a), name) for name, a in constants.items())
    left = [value for value in model.graph.input if value.name not in constants]
    del fixed.graph.input[:]
    fixed.graph.input.extend(left)
    return ir.from_proto(fixed)


def _compare(content: bytes, feed: Mapping[str, NDArray[Any]], wanted: Mapping[str, NDArray[Any]]) -> str:
    for resolver in (OpResolverType.AUTO, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES):
        interpreter = Interpreter(model_content=content, num_threads=1, experimental_op_resolver_type=resolver)
        interpreter.allocate_tensors()
        if not _shapes_hold(content, interpreter):
            return "declares another shape than the kernels compute"
        given = interpreter.get_signature_runner()(**feed)
        for name, array in wanted.items():
            if given[name].shape != array.shape or given[name].dtype != array.dtype:
                return f"{name}: {given[name].dtype}{given[name].shape}, not {array.dtype}{array.shape}"
            if not np.allclose(given[name], array, rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True):
                return f"{name}: {given[name].ravel()[:6]}, not {array.ravel()[:6]}"
    return "passed"


def _shapes_hold(content: bytes, interpreter: Interpreter) -> bool:
    declared = schema.ModelT.InitFromPackedBuf(content, 0).subgraphs[0].tensors
    return all(
        tuple(detail["shape"])
        == tuple([] if declared[detail["index"]].shape is None else declared[detail["index"]].shape)
        for detail in interpreter.get_tensor_details()
        if detail["index"] < len(declared)
    )
