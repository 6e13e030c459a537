"""onnx's own node cases: each converts and answers as onnx says, or is refused with a reason; none answers wrongly."""

from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from typing import Any

import onnx.defs
import pytest

from edgewright.benchmarks.conformance.cases import Case, node_cases
from edgewright.benchmarks.conformance.judge import judge
from edgewright.benchmarks.conformance.tflite import Tflite
from edgewright.export.onnx.decompose import EXPANSIONS
from edgewright.export.tflite.rules import TFLITE

PASSING_AT_LEAST = {
    "activation": 45,
    "attention": 82,
    "bitwise": 9,
    "bodies": 123,
    "control": 4,
    "conv": 6,
    "conv_transpose": 11,
    "detection": 10,
    "elementwise": 157,
    "fourier": 12,
    "gather": 10,
    "generate": 21,
    "indexing": 67,
    "integers": 20,
    "linear": 23,
    "normalization": 44,
    "others": 8,
    "padding": 6,
    "pool": 53,
    "quantize": 11,
    "recurrent": 18,
    "reduce": 85,
    "regions": 7,
    "resize": 45,
    "sampling": 22,
    "scan": 2,
    "scatter": 14,
    "search": 50,
    "shape": 35,
    "spatial": 11,
    "trigonometry": 6,
}
"""Cases of element types that TFLite computes with, by the file of `ops`, else of `decompose`, that takes their
operator; `bodies`: expanded by the function body that onnx gives; `others`: the rest, most of them refused."""


@cache
def cases_by_family() -> Mapping[str, list[Case]]:
    families: dict[str, list[Case]] = defaultdict(list)
    for case in node_cases():
        if case.dtypes() <= Tflite().dtypes:
            families[family_of(case.op_type)].append(case)
    return families


def family_of(op_type: str) -> str:
    rule = TFLITE.rules().get(op_type) or EXPANSIONS.rules().get(op_type)
    if rule is not None:
        return rule.owner.split(".")[-2]
    if "::" in op_type:
        return "others"
    schema: Any = onnx.defs.get_schema(op_type)
    return "bodies" if schema.has_function or schema.has_context_dependent_function else "others"


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::DeprecationWarning")
def test_every_family_is_tested() -> None:
    assert set(cases_by_family()) == set(PASSING_AT_LEAST)


@pytest.mark.parametrize("family", PASSING_AT_LEAST)
@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::DeprecationWarning")
def test_onnx_node_cases(family: str) -> None:
    verdicts = [judge(case, Tflite()) for case in cases_by_family()[family]]
    passed = sum(verdict.outcome == "passed" for verdict in verdicts)
    refused = [verdict for verdict in verdicts if verdict.outcome == "refused"]
    for verdict in refused:
        print(f"refused {verdict.op_type} {verdict.case}: {verdict.reason}")
    print(family, passed, "of", len(verdicts))
    assert [verdict for verdict in verdicts if verdict.outcome == "wrong"] == []
    assert all(verdict.reason for verdict in refused)
    assert passed >= PASSING_AT_LEAST[family], f"{passed} of {len(verdicts)}"
