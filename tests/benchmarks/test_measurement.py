"""From the answers of worker processes to a measurement, and what makes it doubtful."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgewright.benchmarks.hosts import Fingerprint
from edgewright.benchmarks.measurement import Measurement, summarize
from edgewright.benchmarks.worker import Answer, Request, Subject, Timing
from edgewright.errors import BadInput
from edgewright.runtimes.artifact import Artifact, artifact_at

HOST = Fingerprint("a CPU", 2, "Linux 6", "x86_64", "3.11.7")


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"x" * 1234)
    return artifact_at(path)


def answer(wall: list[float], cpu: list[float] | None = None, peak: int = 50_000_000) -> Answer:
    timing = Timing("onnxruntime", "1.2.3", 8, tuple(wall), tuple(cpu or wall))
    return Answer((timing,), 30_000_000, 45_000_000, peak, True)


STEADY = [1.0, 1.01, 0.99, 1.0, 1.02, 1.0, 0.98, 1.0, 1.01, 1.0]


def test_figures(artifact: Artifact) -> None:
    answers = [answer(STEADY), answer(STEADY, peak=50_200_000), answer(STEADY, peak=51_000_000)]
    found = summarize(artifact, answers, 1, HOST)
    assert (found.median_ms, found.cpu_median_ms) == (1.0, 1.0)
    assert found.p90_ms == pytest.approx(np.quantile(STEADY * 3, 0.9))
    assert found.interval_ms[0] <= 1.0 <= found.interval_ms[1]
    assert found.interval_ms[1] - found.interval_ms[0] < 0.02
    assert (found.load_ram_bytes, found.peak_ram_bytes, found.size_bytes) == (15_000_000, 20_200_000, 1234)
    assert (found.processes, found.samples, found.spec, found.origin) == (3, 30, "onnx:float32", "measured")
    assert found.flags == ()


def test_json_round_trip(artifact: Artifact) -> None:
    found = summarize(artifact, [answer(STEADY, [0.5] * 10)], 1, HOST)
    assert Measurement.from_json(found.to_json()) == found
    raw = json.loads(found.to_json())
    for broken in ({}, raw | {"surprise": 1}, raw | {"interval_ms": [1]}, raw | {"host": {"cpu": 1}}):
        with pytest.raises(BadInput, match="not a measurement"):
            Measurement.from_json(json.dumps(broken))


@pytest.mark.parametrize(
    ("answers", "threads", "flag"),
    [
        ([answer(STEADY, [0.5] * 10)], 1, "wall/CPU gap: wall time is 100 % above CPU time"),
        ([answer([1.0, 1.4] * 5)], 1, "may be unstable: spread 33 %"),
        ([answer(STEADY), answer([1.3] * 10)], 1, "may be unstable: process medians differ by 26 %"),
        ([answer(STEADY), answer(STEADY, peak=54_000_000)], 1, "peak memory differs by 4.00 MB between processes"),
        ([replace(answer(STEADY), peak_is_of_inference=False)], 1, "peak memory includes loading"),
    ],
)
def test_doubts_are_named(artifact: Artifact, answers: list[Answer], threads: int, flag: str) -> None:
    flags = summarize(artifact, answers, threads, HOST).flags
    assert any(text.startswith(flag) for text in flags), flags


def test_no_gap_is_claimed_with_more_threads(artifact: Artifact) -> None:
    assert summarize(artifact, [answer(STEADY, [0.5] * 10)], 2, HOST).flags == ()


def test_a_slow_governor_is_named(artifact: Artifact) -> None:
    flags = summarize(artifact, [answer(STEADY)], 1, replace(HOST, governor="powersave")).flags
    assert flags == ("CPU frequency governor is 'powersave', not 'performance'",)


def test_requests_and_answers_survive_the_pipe() -> None:
    request = Request(
        (Subject("a.onnx", "onnx:int8", "00", runtime="onnxruntime"), Subject("b", "torch", "11", True)), 2, 7
    )
    assert Request.from_json(request.to_json()) == request
    assert Answer.from_json(answer(STEADY).to_json()) == answer(STEADY)
