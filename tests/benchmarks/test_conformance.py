"""What judges a target notices every way to be wrong, and the page says it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from edgewright.benchmarks.conformance.cases import Arrays, Case
from edgewright.benchmarks.conformance.judge import Verdict, judge
from edgewright.benchmarks.conformance.table import page
from edgewright.errors import BadModel, UnsupportedOps

X, W = np.array([1.0, 2.0], np.float32), np.array([3.0, 4.0], np.float32)
MODEL = onnx.parser.parse_model(
    '<ir_version: 8, opset_import: ["" : 17]> g (float[2] x, float[2] w) => (float[2] y) { y = Add(x, w) }'
)
CASE = Case("test_add", "Add", MODEL, {"x": X, "w": W}, {"y": X + W})


@dataclass
class Fake:
    """Refuses while more than `at_most` inputs are computed, then answers `answer`."""

    answer: NDArray[Any]
    at_most: int = 2
    refusal: Exception = field(default_factory=lambda: UnsupportedOps("fake", {"Add": ("needs a constant", ["n"])}))
    failure: Exception | None = None
    name = "fake"
    about = ""
    dtypes = frozenset({"FLOAT"})

    def convert(self, model: onnx.ModelProto) -> bytes:
        if len(model.graph.input) > self.at_most:
            raise self.refusal
        return model.SerializeToString()

    def answers(self, content: bytes, inputs: Arrays) -> Iterator[tuple[str, Mapping[str, NDArray[Any]]]]:
        assert set(inputs) == {end.name for end in onnx.load_from_string(content).graph.input}
        if self.failure is not None:
            raise self.failure
        yield "somehow", {"y": self.answer}


@pytest.mark.parametrize(
    ("target", "outcome", "constants", "reason"),
    [
        (Fake(X + W), "passed", "none", ""),
        (Fake(X + W, at_most=1), "passed", "all but the first", ""),
        (Fake(X + W, at_most=0), "refused", "none", "Add: needs a constant"),
        (Fake(X, at_most=0, refusal=BadModel("no\nway")), "refused", "none", "no way"),
        (Fake(X + W + 0.01), "wrong", "none", "somehow, y: [4.01 6.01], not [4. 6.]"),
        (Fake(np.array([4, 6])), "wrong", "none", "somehow, y: int64(2,), not float32(2,)"),
        (Fake(X, failure=RuntimeError("no memory")), "wrong", "none", "the runtime refuses it: no memory"),
        (Fake(X, at_most=0, refusal=KeyError("w")), "wrong", "none", "raises KeyError: 'w'"),
    ],
)
def test_verdicts(target: Fake, outcome: str, constants: str, reason: str) -> None:
    found = judge(CASE, target)
    assert (found.outcome, found.constants, found.reason) == (outcome, constants, reason)


def test_element_types_of_a_case() -> None:
    assert CASE.dtypes() == {"FLOAT"}
    body = "g (seq(float[2]) s, int64 i) => (float[2] y) { y = SequenceAt(s, i) }"
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {body}')
    assert Case("test_at", "SequenceAt", model, {}, {}).dtypes() == {"SEQUENCE", "INT64", "FLOAT"}


def test_the_page() -> None:
    counted = [
        Verdict("a", "Add", "passed"),
        Verdict("b", "Add", "passed", "parameters"),
        Verdict("c", "Add", "refused", "none", "rank | above 6"),
        Verdict("d", "Sub", "wrong", "none", "off by one"),
    ]
    text = page("fake", {"FLOAT"}, counted, [Verdict("e", "Add", "refused", "none", "DOUBLE")])
    assert "Of 4 cases whose inputs and outputs are FLOAT,\n**2 pass (50.0%; aim: 90%)**, 1 are refused" in text
    assert "| Add | 2 | 1 | 3 | 1 × rank \\| above 6 |" in text
    assert "| Sub | 0 |  | 1 | 1 × WRONG (d): off by one |" in text
