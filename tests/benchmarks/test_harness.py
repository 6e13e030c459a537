"""Real worker processes: what they measure, how they fail, and in which order they run."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgewright.benchmarks import worker
from edgewright.benchmarks.harness import measure, measure_all
from edgewright.benchmarks.hosts import Fingerprint, Local
from edgewright.benchmarks.measurement import Measurement
from edgewright.benchmarks.worker import Answer, Request, Timing, probes
from edgewright.errors import BadInput, BadModel, WorkerFailed
from edgewright.runtimes.artifact import Artifact, artifact_at
from edgewright.runtimes.contract import Contract, TensorInfo


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """x [4, 64] @ a constant [64, 32]."""
    path = tmp_path_factory.mktemp("onnx") / "product.onnx"
    weight = np.random.default_rng(0).standard_normal((64, 32)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], "product")],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, 32])],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return artifact_at(path)


def test_a_real_file_is_measured(product: Artifact) -> None:
    found = measure(product, processes=2, samples=6)
    assert (found.runtime, found.threads, found.origin) == ("onnxruntime", 1, "measured")
    assert (found.processes, found.samples) == (2, 12)
    assert (found.digest, found.size_bytes) == (product.digest, product.path.stat().st_size)
    assert 0 < found.interval_ms[0] <= found.interval_ms[1]
    assert found.median_ms <= found.p90_ms
    assert 1_000_000 < found.load_ram_bytes <= found.peak_ram_bytes < 500_000_000
    assert found.host.cores == len(os.sched_getaffinity(0))


def test_one_failure_spoils_no_other(product: Artifact, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\x08\x07 not a model")
    results = measure_all([artifact_at(broken), product], processes=1, samples=5)
    assert isinstance(results[0], BadModel)
    assert "broken.onnx" in str(results[0])
    assert isinstance(results[1], Measurement)


def test_without_a_runtime_the_reason_is_given(product: Artifact) -> None:
    with pytest.raises(BadInput, match=r"product\.onnx: cannot run here: no runtime for onnx is named 'litert'"):
        measure(product, runtime="litert")


def test_a_file_that_fails_on_the_probe_is_refused_in_words(tmp_path: Path) -> None:
    """A window of three does not fit an open length, which is measured with 1."""
    path = tmp_path / "open.onnx"
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], "conv")],
        "open",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, "n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, "m"])],
        [onnx.numpy_helper.from_array(np.ones((1, 1, 3), np.float32), "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    with pytest.raises(BadInput, match=r"open\.onnx on random x 1×1×1 \(open\): the runtime failed: .*Conv"):
        measure(artifact_at(path), processes=1)


CRASHES: dict[str, tuple[str, str]] = {
    "killed": (
        "os.kill(os.getpid(), signal.SIGKILL)",
        r"was killed by SIGKILL \(.*memory.*\n  a last word",
    ),
    "fault": ("signal.raise_signal(signal.SIGSEGV)", r"was killed by SIGSEGV\n  a last word"),
    "exit": ("os._exit(3)", r"ended with exit code 3\n  a last word"),
    "silent": ("os._exit(0)", r"answered no JSON: ''"),
}


@pytest.fixture
def at_worker_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Runs a statement in each worker before it does anything: Python imports `sitecustomize` when it starts."""

    def plant(statement: str) -> None:
        lines = ["import os, signal, sys, time", "print('a last word', file=sys.stderr, flush=True)", statement]
        (tmp_path / "sitecustomize.py").write_text("\n".join(lines))
        monkeypatch.syspath_prepend(tmp_path)

    return plant


@pytest.mark.parametrize("crash", CRASHES)
def test_a_dead_worker_says_how_it_died(product: Artifact, at_worker_start: Callable[[str], None], crash: str) -> None:
    statement, message = CRASHES[crash]
    at_worker_start(statement)
    with pytest.raises(WorkerFailed, match=message) as caught:
        measure(product, processes=1)
    assert str(product.path) in str(caught.value)


def test_a_hanging_worker_is_ended(product: Artifact, at_worker_start: Callable[[str], None]) -> None:
    at_worker_start("time.sleep(60)")
    with pytest.raises(WorkerFailed, match=r"no answer within 0\.3 s"):
        measure(product, host=Local(timeout_s=0.3))


def test_what_others_print_is_no_answer(product: Artifact, at_worker_start: Callable[[str], None]) -> None:
    at_worker_start("print('welcome')")
    assert measure(product, processes=1, samples=5).samples == 5


class Scripted:
    """A host that notes whom it is asked for and fails for one of them."""

    def __init__(self, failing: str = "") -> None:
        self.asked: list[str] = []
        self.failing = failing

    def fingerprint(self) -> Fingerprint:
        return Fingerprint("a CPU", 1, "Linux 6", "x86_64", "3.11.7")

    def ask(self, request: Request) -> Answer:
        [only] = request.subjects
        self.asked.append(Path(only.path).stem)
        if self.asked[-1] == self.failing:
            raise WorkerFailed("it died")
        return Answer((Timing("r", "1", 1, (1.0,) * 5, (1.0,) * 5),), 10, 20, 30, True)


def artifacts(folder: Path) -> list[Artifact]:
    paths = [folder / f"{name}.onnx" for name in "abc"]
    for path in paths:
        path.write_bytes(b"x")
    return [artifact_at(path) for path in paths]


def test_processes_are_interleaved_there_and_back(tmp_path: Path) -> None:
    host = Scripted()
    results = measure_all(artifacts(tmp_path), processes=3, host=host)
    assert "".join(host.asked) == "abccbaabc"
    assert [result.processes for result in results if isinstance(result, Measurement)] == [3, 3, 3]


def test_what_failed_once_is_not_started_again(tmp_path: Path) -> None:
    host = Scripted(failing="b")
    results = measure_all(artifacts(tmp_path), processes=3, host=host)
    assert "".join(host.asked) == "abccaac"
    assert [type(result) for result in results] == [Measurement, WorkerFailed, Measurement]


MEMORY = """
import json, sys
import numpy as np
from edgewright.benchmarks import worker
from edgewright.devices.spec import Format
from edgewright.runtimes.contract import Contract, TensorInfo

class Session:
    contract = Contract((TensorInfo("x", (1, 4)),), (TensorInfo("y", (1, 4)),))
    def __init__(self):
        np.ones(200_000_000, np.uint8)
        self.held = np.ones(30_000_000, np.uint8)
    def prepared(self, inputs):
        return lambda: np.ones(50_000_000, np.uint8)

class Runtime:
    name = "hungry"
    version = lambda self: "1"
    load = lambda self, artifact, threads: Session()

worker.pick = lambda format_, name, timed: (Runtime(), "")
request = worker.Request((worker.Subject("m", "onnx:float32", "00"),), samples=5)
sys.stdout.write(worker.answer(request).to_json())
"""


def test_memory_of_loading_and_of_inference_are_told_apart() -> None:
    """Loading holds 30 MB (and touches 200 MB for a moment), inference takes 50 MB more."""
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    found = Answer.from_json(done.stdout)
    assert found.peak_is_of_inference
    assert found.loaded_bytes - found.before_bytes == pytest.approx(30e6, rel=0.1)
    assert found.peak_bytes - found.loaded_bytes == pytest.approx(50e6, rel=0.1)
    assert found.timings[0].runtime == "hungry"


class Clock:
    """Stands for `time`: only calls of the model take any, each `call_ms`, the first one `first_ms`."""

    def __init__(self, call_ms: float, first_ms: float) -> None:
        self.call_ns, self.next_ns, self.now_ns = int(call_ms * 1e6), int(first_ms * 1e6), 0

    def call(self) -> None:
        self.now_ns += self.next_ns
        self.next_ns = self.call_ns

    def perf_counter_ns(self) -> int:
        return self.now_ns

    thread_time_ns = process_time_ns = perf_counter_ns

    def perf_counter(self) -> float:
        return self.now_ns / 1e9


@pytest.mark.parametrize(
    ("call_ms", "first_ms", "loops", "samples", "at_most_s"),
    [
        (0.01, 0.01, 128, 40, 0.2),
        (0.01, 600, 128, 40, 0.9),  # slow at first, as what compiles when it is called
        (20, 20, 1, 40, 1.0),
        (300, 300, 1, 10, 4.0),
        (10_000, 10_000, 1, 3, 50),
    ],
)
def test_slow_models_get_fewer_samples(
    call_ms: float, first_ms: float, loops: int, samples: int, at_most_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(call_ms, first_ms)
    monkeypatch.setattr(worker, "time", clock)
    monkeypatch.setattr(worker.gc, "disable", lambda: None)
    [(found, wall, _)] = worker._sample([clock.call], Request(()))
    assert (found, len(wall)) == (loops, samples)
    assert wall == pytest.approx([call_ms] * samples)
    assert clock.perf_counter() <= at_most_s


def test_the_worker_imports_no_framework() -> None:
    code = "import sys, edgewright.benchmarks.worker; print([m for m in %r if m in sys.modules])"
    heavy = [
        "torch",
        "onnx",
        "onnx_ir",
        "onnxruntime",
        "coremltools",
        "ai_edge_litert",
        "tflite_micro",
        "rich",
        "typer",
    ]
    done = subprocess.run([sys.executable, "-c", code % heavy], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_probes_suit_the_contract() -> None:
    contract = Contract(
        (TensorInfo("a", (None, 3, 2)), TensorInfo("n", (), "int64"), TensorInfo("mask", (2, 2), "bool")), ()
    )
    first, second = probes(contract, 0), probes(contract, 0)
    assert {name: (array.shape, str(array.dtype)) for name, array in first.items()} == {
        "a": ((1, 3, 2), "float32"),
        "n": ((), "int64"),
        "mask": ((2, 2), "bool"),
    }
    assert all(np.array_equal(first[name], second[name]) for name in first)
