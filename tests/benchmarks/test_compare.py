"""A verdict only outside the noise, and both artifacts in turn."""

import json
from pathlib import Path

import numpy as np
import pytest

from edgewright.benchmarks.compare import compare, judge
from edgewright.benchmarks.hosts import Fingerprint
from edgewright.benchmarks.worker import Answer, Request, Timing
from edgewright.runtimes.artifact import artifact_at

HOST = Fingerprint("a CPU", 2, "Linux 6", "x86_64", "3.11.7")


def answers(ratio: float, *, noise: float = 0.01, drift: float = 0.0, processes: int = 5) -> list[Answer]:
    """A takes `ratio` × B; both drift together by `drift` over a process; wall time says the opposite of CPU time."""
    generator = np.random.default_rng(0)
    made = []
    for _ in range(processes):
        level = np.linspace(1, 1 + drift, 40)
        a = ratio * level * generator.lognormal(0, noise, 40)
        b = level * generator.lognormal(0, noise, 40)
        timings = (Timing("r", "1", 1, tuple(b), tuple(a)), Timing("r", "1", 1, tuple(a), tuple(b)))
        made.append(Answer(timings, 0, 0, 0, True))
    return made


def test_a_real_difference_is_said_with_its_interval() -> None:
    found = judge("a", "b", answers(1.31), 1, HOST)
    assert found.faster == "B"
    assert found.ratio == pytest.approx(1.31, abs=0.01)
    low, high = found.interval
    assert low < 1.31 < high
    assert high - low < 0.02
    assert found.verdict == f"B is {found.ratio:.2f}× faster [{low:.2f}, {high:.2f}] (thread CPU time)"


def test_the_other_way_round_the_ratio_is_inverted() -> None:
    found = judge("a", "b", answers(1 / 1.31), 1, HOST)
    assert found.faster == "A"
    low, high = found.interval
    assert found.verdict == f"A is {1 / found.ratio:.2f}× faster [{1 / high:.2f}, {1 / low:.2f}] (thread CPU time)"


@pytest.mark.parametrize("ratio", [1.0, 1.005, 0.995])
def test_a_difference_within_the_noise_is_none(ratio: float) -> None:
    found = judge("a", "b", answers(ratio), 1, HOST)
    assert found.faster is None
    assert found.verdict.startswith("no difference beyond the noise: A takes ")


def test_wide_noise_hides_a_small_difference() -> None:
    assert judge("a", "b", answers(1.03, noise=0.4), 1, HOST).faster is None


def test_a_drift_that_hits_both_changes_nothing() -> None:
    found = judge("a", "b", answers(1.1, drift=1.0), 1, HOST)
    assert found.faster == "B"
    assert found.ratio == pytest.approx(1.1, abs=0.01)


def test_more_threads_are_judged_by_wall_time() -> None:
    found = judge("a", "b", answers(1.31), 2, HOST)
    assert (found.faster, found.clock) == ("A", "wall time")


class TwiceAsSlow:
    """A host on which the file named a.onnx takes 2 ms and every other 1 ms; notes who came first."""

    def __init__(self) -> None:
        self.first: list[str] = []

    def fingerprint(self) -> Fingerprint:
        return HOST

    def ask(self, request: Request) -> Answer:
        self.first.append(Path(request.subjects[0].path).name)
        took = [2.0 if subject.path.endswith("a.onnx") else 1.0 for subject in request.subjects]
        timings = tuple(Timing("r", "1", 1, (ms,) * request.samples, (ms,) * request.samples) for ms in took)
        return Answer(timings, 0, 0, 0, True)


def test_both_are_loaded_first_in_turn_and_never_mixed_up(tmp_path: Path) -> None:
    for name in ("a.onnx", "b.onnx"):
        (tmp_path / name).write_bytes(b"x")
    host = TwiceAsSlow()
    found = compare(
        artifact_at(tmp_path / "a.onnx"), artifact_at(tmp_path / "b.onnx"), processes=4, samples=6, host=host
    )
    assert host.first == ["a.onnx", "b.onnx", "a.onnx", "b.onnx"]
    assert (found.a, found.b, found.ratio, found.pairs) == ("a.onnx", "b.onnx", 2.0, 24)
    assert found.median_ms == (2.0, 1.0)
    assert json.loads(json.dumps(found.to_dict()))["faster"] == "B"
    assert found.verdict == "B is 2.00× faster [2.00, 2.00] (thread CPU time)"
