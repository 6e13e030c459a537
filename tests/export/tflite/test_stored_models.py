"""The models that onnx stores, by the whole road: each answers as recorded or is refused with a reason."""

import pytest

from edgewright.benchmarks.conformance.cases import stored_cases
from edgewright.benchmarks.conformance.judge import judge
from edgewright.benchmarks.conformance.tflite import Tflite

PASSING = {"simple": 9, "pytorch-converted": 79, "pytorch-operator": 30}
"""The rest are sequences, strings, gradients, float64, and slopes of PRelu before opset 7."""

REASONS = ("sequences", "strings", "training", "element type DOUBLE", "broadcasts its slopes")
SMALL = ("light_shufflenet", "light_squeezenet")


@pytest.mark.parametrize("folder", PASSING)
def test_stored_models(folder: str) -> None:
    verdicts = [judge(case, Tflite()) for case in stored_cases([folder])]
    refused = [verdict for verdict in verdicts if verdict.outcome == "refused"]
    assert [verdict for verdict in verdicts if verdict.outcome == "wrong"] == []
    assert [verdict for verdict in refused if not any(reason in verdict.reason for reason in REASONS)] == []
    assert len(verdicts) - len(refused) >= PASSING[folder]


def test_whole_networks() -> None:
    """The large ones, with weights of up to 500 MB, are for `python -m edgewright.benchmarks.conformance --stored`."""
    verdicts = [judge(case, Tflite()) for case in stored_cases(["light"]) if case.name in SMALL]
    assert [(verdict.case, verdict.outcome) for verdict in verdicts] == [(name, "passed") for name in SMALL]
