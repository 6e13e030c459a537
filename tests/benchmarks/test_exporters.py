"""The benchmark against other exporters: what it computes, and what it says of a converter that fails, without any."""

import hashlib
import mmap
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgewright.benchmarks.compare import Comparison
from edgewright.benchmarks.exporters import answers, cost, latency, networks, size
from edgewright.benchmarks.exporters.__main__ import peers
from edgewright.benchmarks.exporters.drivers import probe
from edgewright.benchmarks.exporters.environments import DRIVERS, OURS, PEERS, find_python, interpreter_of
from edgewright.benchmarks.exporters.files import SHAPES, Files, Network
from edgewright.benchmarks.exporters.networks import NETWORKS
from edgewright.benchmarks.exporters.processes import Cost, Whole, run
from edgewright.benchmarks.exporters.samples import fitted, order, smooth
from edgewright.benchmarks.exporters.turns import in_turn, ratio
from edgewright.benchmarks.hosts import Fingerprint
from edgewright.errors import BadInput


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """A small graph in the place of cnn_1d's; the peers' environments are where nothing can be made."""
    folder = tmp_path_factory.mktemp("exporters")
    network = folder / "out" / "cnn_1d"
    network.mkdir(parents=True)
    (network / "networks.sha256").write_text(hashlib.sha256(Path(networks.__file__).read_bytes()).hexdigest())
    text = """<ir_version: 8, opset_import: ["" : 18]>
        cnn_1d (float[1, 6, 100] input) => (float[1, 8, 100] output)
        <float[8, 6, 5] w> { y = Conv <pads = [2, 2]> (input, w)  output = Relu(y) }"""
    model = onnx.parser.parse_model(text)
    weights = np.random.default_rng(0).standard_normal((8, 6, 5)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    onnx.save(model, network / "network.onnx")
    blocked = folder / "peers"
    blocked.write_text("not a folder")
    return Files(folder / "out", blocked, lambda _: None)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_a_network_takes_one_sample_of_its_shape_and_is_the_same_every_time(name: str) -> None:
    import torch

    (first, examples), (second, _) = NETWORKS[name](), NETWORKS[name]()
    assert [tuple(example.shape) for example in examples.values()] == [(1, *SHAPES[name])]
    assert not first.training
    for one, other in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_networks_answer_with_signals_of_a_common_size_that_depend_on_the_sample() -> None:
    import torch

    for name in ("cnn_1d", "gru", "vit", "student_128"):
        module, _ = NETWORKS[name]()
        with torch.no_grad():
            answer = module(torch.from_numpy(smooth(SHAPES[name], 8, seed=0))).numpy()
        assert 0.01 < answer.std() < 100, name
        assert answer.std(axis=0).mean() > 0.05 * answer.std(), name


def test_smooth_samples_are_seeded_and_slow_along_time_or_space() -> None:
    samples = smooth((2, 64), 5, seed=1)
    assert samples.shape == (5, 2, 64)
    assert samples.dtype == np.float32
    np.testing.assert_array_equal(samples, smooth((2, 64), 5, seed=1))
    assert not np.array_equal(samples, smooth((2, 64), 5, seed=2))
    neighbours = np.corrcoef(samples[..., 1:].ravel(), samples[..., :-1].ravel())[0, 1]
    assert neighbours > 0.7


def test_samples_are_laid_as_a_file_takes_them() -> None:
    samples = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    assert fitted(samples, (1, 3, 4, 5)) is not None
    np.testing.assert_array_equal(fitted(samples, (1, 4, 5, 3)), samples.transpose(0, 2, 3, 1))
    assert order((1, 7), (1, 7)) == (0, 1)
    assert order((1, 4, 4, 4), (1, 4, 4, 4)) == (0, 1, 2, 3)
    with pytest.raises(BadInput, match="no order of the axes"):
        order((1, 3, 4), (1, 3, 5))
    with pytest.raises(BadInput, match="no order of the axes"):
        order((1, 3, 4), (1, 12))


def test_two_sides_run_in_turn_and_a_side_that_fails_is_not_started_again() -> None:
    log: list[str] = []

    def works() -> float:
        log.append("a")
        return 2.0

    def fails() -> float:
        log.append("b")
        raise BadInput("no such operator")

    assert in_turn(3, works, fails) == ([2.0, 2.0, 2.0], "no such operator")
    assert log == ["a", "b", "a", "a"]
    assert ratio([3.0, 8.0, 5.0], [1.0, 2.0, 1.0]) == 4.0


def test_a_process_tells_its_cpu_time_and_its_last_words() -> None:
    spent = run([sys.executable, "-c", "import time\nwhile time.process_time() < 0.3: pass\nprint('done')"])
    assert spent.output == "done\n"
    assert 0.3 <= spent.cpu_s < 10
    assert spent.wall_s > 0.2
    with pytest.raises(BadInput, match="ended with code 3: the reason"):
        run([sys.executable, "-c", "import sys; print('the reason', file=sys.stderr); sys.exit(3)"])


def test_a_conversion_is_measured_behind_its_imports(tmp_path: Path) -> None:
    sources: list[str] = []

    def convert(job: probe.Job) -> None:
        sources.append(job.source)
        if job.source == "source":  # pages of its own: the allocator could serve bytes from what it kept resident
            with mmap.mmap(-1, 1 << 25) as pages:
                pages.write(bytes(1 << 25))

    cost = probe.measured(convert, probe.Job("source", str(tmp_path / "x"), warm="small"))
    assert sources == ["small", "source"]
    assert 1 << 24 < cost["peak_bytes"] < 1 << 27
    cause = ValueError("the\n cause")
    error = RuntimeError("failed")
    error.__cause__ = cause
    assert probe.reason(error) == "RuntimeError: failed ← ValueError: the cause"


def test_every_converter_has_a_driver_and_a_python_that_is_absent_is_said_so() -> None:
    folder = Path(probe.__file__).parent
    assert set(PEERS) < set(DRIVERS)
    assert all((folder / f"{driver}.py").is_file() for driver in DRIVERS.values())
    assert interpreter_of(OURS, Path("nowhere")) == Path(sys.executable)
    with pytest.raises(BadInput, match=r"needs Python 3\.99, which is not here"):
        find_python((3, 99))


def test_our_files_and_what_a_missing_peer_leaves_in_the_tables(files: Files) -> None:
    table = size.sizes(files, ["cnn_1d"], ["float32"])
    ours = files.file(files.network("cnn_1d"), OURS, "float32")
    [row] = table.rows
    assert row[OURS] == size.size_bytes(ours) < ours.stat().st_size
    assert all(row[peer] == "none" for peer in PEERS)
    assert table.bars == []
    assert "1 CONV_2D" in str(size.inventory(ours)["operators"])


def test_answers_are_compared_in_every_runtime_and_a_peers_failure_is_a_row(files: Files) -> None:
    table = answers.of_precision(files, ["cnn_1d"], "float32")
    [ours, *theirs] = table.rows
    assert ours["file"] == OURS
    assert all(isinstance(ours[name], float) and ours[name] > 100 for name in answers.BROAD)  # type: ignore[operator]
    assert [row["file"] for row in theirs] == list(PEERS)
    assert all(isinstance(row["LiteRT + XNNPACK"], str) for row in theirs)
    assert [(bar.measured, bar.met) for bar in table.bars] == [(0, True)]


def test_a_file_that_no_runtime_takes_has_the_reason_in_each_cell(files: Files, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(b"\x00\x00\x00\x00TFL3")
    found = answers.of_file(files.network("cnn_1d"), damaged)
    assert len(found) == 4
    assert all("damaged TFLite file" in str(reason) for reason in found.values())


def test_costs_are_held_against_their_bars(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu_s = {OURS: 0.5, "onnx2tf": 1.4}

    def converted(converter: str, job: probe.Job, environments: Path) -> Cost:  # noqa: ARG001
        if job.precision == "writer":
            return Cost(0.01, 0.01, 0, Whole(1.0, 1.0, ""))
        if converter not in cpu_s:
            raise BadInput("its reason")
        return Cost(cpu_s[converter], 1.0, 50_000_000, Whole(2 * cpu_s[converter], 1.0, ""))

    monkeypatch.setattr(cost, "converted", converted)
    monkeypatch.setattr(cost, "command_line", lambda _: Whole(4.0, 5.0, ""))
    table = cost.from_onnx(files, ["cnn_1d"])
    assert table.rows[0]["CPU ratio"] == pytest.approx(2.8)
    assert [(bar.what, bar.met) for bar in table.bars] == [
        ("cnn_1d: CPU from ONNX, onnx2tf / ours", False),
        ("cnn_1d: peak in MB", False),
    ]
    table = cost.from_torch(files, ["cnn_1d"])
    assert table.rows[0]["litert-torch CPU s"] == "its reason"
    assert table.bars == []


def test_latency_is_judged_on_the_fastest_peer_and_says_who_has_no_file(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = {"onnx2tf": (1.0, 2.0), "litert-torch": (1.1, 1.0)}

    def against(_: Files, __: Network, peer: str, precision: str) -> Comparison | str:
        if precision == "int8" and peer == "onnx2tf":
            return "onnx2tf: its reason"
        ours, its = taken[peer]
        host = Fingerprint("cpu", 1, "Linux", "x86_64", "3.11")
        interval = (ours / its, ours / its)
        return Comparison("a", "b", "litert", "litert", "cpu", ours / its, interval, taken[peer], 9, 1, host)

    monkeypatch.setattr(latency, "against", against)
    floats, int8 = (latency.of_precision(files, ["cnn_1d"], precision) for precision in latency.PRECISIONS)
    assert [(bar.measured, bar.met) for bar in floats.bars] == [(1.1, False), (1.1, False)]
    assert int8.rows[0] == {"network": "cnn_1d", "peer": "onnx2tf", "ratio": "onnx2tf: its reason"}
    assert int8.rows[1]["ratio"] == "1.100"


def test_the_table_of_peers_says_why_one_is_not_there(files: Files) -> None:
    rows = peers(files.environments).rows
    assert [row["peer"] for row in rows] == list(PEERS)
    assert all("failed" in str(row["Python"]) or "needs Python" in str(row["Python"]) for row in rows)
