"""onnx's own node cases, two of each operator: answered as onnx says, or refused with a reason; none answers wrongly.

`python -m edgewright.benchmarks.conformance coreml` runs all of them and writes docs/coreml-operators.md.
"""

import gc
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import onnx.defs
import pytest

from edgewright.benchmarks.conformance.cases import Case, node_cases
from edgewright.benchmarks.conformance.coreml import Coreml
from edgewright.benchmarks.conformance.judge import judge
from edgewright.export.coreml.lowerings import COREML
from edgewright.export.onnx.decompose import EXPANSIONS

PASSING_AT_LEAST = {
    "activation": 30,
    "attention": 2,
    "bodies": 30,
    "control": 2,
    "convolution": 4,
    "detection": 2,
    "elementwise": 90,
    "fourier": 4,
    "gathering": 4,
    "generate": 9,
    "indexing": 5,
    "integers": 2,
    "linear": 9,
    "normalization": 13,
    "others": 6,
    "pool": 4,
    "pooling": 8,
    "quantization": 4,
    "quantize": 3,
    "recurrent": 6,
    "reduce": 1,
    "reduction": 9,
    "regions": 4,
    "repeating": 11,
    "resizing": 2,
    "sampling": 4,
    "scan": 2,
    "scattering": 4,
    "searching": 8,
    "selection": 10,
    "shape": 12,
    "spatial": 4,
}
"""Of two cases of each operator, by the file of `ops`, else of `decompose`, that takes it; `bodies`: expanded by the
function body that onnx gives; `others`: the rest, most of them refused."""


@cache
def cases_by_family() -> Mapping[str, list[Case]]:
    by_operator: dict[str, list[Case]] = defaultdict(list)
    for case in node_cases():
        if case.dtypes() <= Coreml().dtypes:
            by_operator[case.op_type].append(case)
    families: dict[str, list[Case]] = defaultdict(list)
    for op_type, cases in by_operator.items():
        families[family_of(op_type)] += cases[:: max(len(cases) - 1, 1)]
    return families


def family_of(op_type: str) -> str:
    rule = COREML.rules().get(op_type) or EXPANSIONS.rules().get(op_type)
    if rule is not None:
        return rule.owner.split(".")[-2]
    if "::" in op_type:
        return "others"
    schema: Any = onnx.defs.get_schema(op_type)
    return "bodies" if schema.has_function or schema.has_context_dependent_function else "others"


@pytest.fixture(scope="module", autouse=True)
def _few_objects_to_collect() -> Iterator[None]:
    """coremltools collects garbage after every conversion; what one conversion has loaded needs no looking at."""
    judge(cases_by_family()["shape"][0], Coreml())
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::DeprecationWarning")
def test_every_family_is_tested() -> None:
    assert set(cases_by_family()) == set(PASSING_AT_LEAST)


@pytest.mark.parametrize("family", PASSING_AT_LEAST)
@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::DeprecationWarning")
def test_onnx_node_cases(family: str) -> None:
    verdicts = [judge(case, Coreml()) for case in cases_by_family()[family]]
    passed = sum(verdict.outcome == "passed" for verdict in verdicts)
    refused = [verdict for verdict in verdicts if verdict.outcome == "refused"]
    for verdict in refused:
        print(f"refused {verdict.op_type} {verdict.case}: {verdict.reason}")
    print(family, passed, "of", len(verdicts))
    assert [verdict for verdict in verdicts if verdict.outcome == "wrong"] == []
    assert all(verdict.reason for verdict in refused)
    assert passed >= PASSING_AT_LEAST[family], f"{passed} of {len(verdicts)}"
