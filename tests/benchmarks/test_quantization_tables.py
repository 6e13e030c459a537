import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgewright.benchmarks.quantization import metrics, peers, real, tasks
from edgewright.benchmarks.quantization.networks import Network, diverged, edgewright, write_data
from edgewright.benchmarks.quantization.peers import gain_db
from edgewright.benchmarks.quantization.quantize_peers import invalid
from edgewright.benchmarks.quantization.table import Bar, Row, Table, number
from edgewright.data import Samples, load_samples
from edgewright.errors import BadInput
from edgewright.export import verify


def test_a_bar_is_met_at_its_limit_and_missed_by_what_is_no_number() -> None:
    assert Bar("gain", 3.0, 3.0).met
    assert not Bar("gain", 2.99, 3.0).met
    assert Bar("drop", 0.3, 0.3, at_most=True).met
    assert not Bar("drop", 0.31, 0.3, at_most=True).met
    assert not Bar("drop", float("nan"), 0.3, at_most=True).met
    assert str(Bar("drop", 0.31, 0.3, at_most=True)) == "MISSED drop: 0.31 (wanted ≤ 0.3)"


def test_a_table_prints_every_head_once_and_a_dash_where_a_row_has_no_cell() -> None:
    table = Table("T", [{"a": 1, "b": 2.5}, {"a": 2, "c": None}], [Bar("x", 1.0, 0.0)])
    lines = ["## T", "", "| a | b | c |", "| --- | --- | --- |", "| 1 | 2.50 | – |", "| 2 | – | – |", ""]
    assert str(table).splitlines() == [*lines, "- met    x: 1 (wanted ≥ 0)"]
    raw = json.loads(json.dumps(table.to_json()))
    assert raw["rows"][0] == {"a": 1, "b": 2.5}
    assert raw["bars"] == [{"what": "x", "measured": 1.0, "limit": 0.0, "at_most": False, "met": True}]
    with pytest.raises(AssertionError):
        number("text")


@pytest.mark.parametrize("noise", [0.0, 1e-3, 1.0, np.inf])
def test_snr_is_what_verification_calls_snr(noise: float) -> None:
    reference = np.random.default_rng(0).standard_normal((4, 5))
    answer = reference + noise
    assert metrics.snr_db(reference, answer) == verify.snr_db(reference, answer)


def test_top1_accuracy_and_steps() -> None:
    scores = np.array([[0.0, 1.0], [2.0, 1.0], [0.0, 3.0]])
    assert metrics.accuracy(scores, np.array([1, 0, 0])) == pytest.approx(2 / 3)
    assert metrics.same_top1(scores, scores[:, ::-1]) == 0
    apart = metrics.steps_apart(np.array([-128], np.int8), np.array([127], np.int8))
    assert apart.tolist() == [255]


def test_our_worse_file_is_held_against_the_better_peer() -> None:
    row: Row = {"ours .onnx": 30.0, "ours .tflite": 29.0, "quantize_static MinMax": 25.0, "ai-edge-quantizer": 27.0}
    assert gain_db(row | {"quantize_static Entropy": 40.0}) == 2.0
    assert gain_db(row | {"ai-edge-quantizer": "invalid file: …"}) == 4.0
    assert gain_db({"network": "x", "refused": "SNR 6 dB is below 15 dB"}) == float("-inf")


def test_written_data_hold_both_parts_with_their_labels(tmp_path: Path) -> None:
    parts = [Samples({"x": np.full((n, 2), n, np.float32)}, np.full(n, n)) for n in (3, 5)]
    read = load_samples(str(write_data(tmp_path / "deep" / "data.npz", *parts)))
    for name, part in zip(("calibration", "test"), parts):
        assert np.array_equal(read.part(name).inputs["x"], part.inputs["x"])
        assert np.array_equal(read.part(name).labels, part.labels)
    assert len(read.part("validation")) == 0


def test_a_command_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=re.escape("absent.onnx: no such file")):
        edgewright(["convert", str(tmp_path / "absent.onnx"), str(tmp_path / "out.onnx")])


def test_of_all_refusals_only_a_divergence_is_a_result() -> None:
    refusal = BadInput("convert failed:\nquantize\nedgewright: SNR 10.9 dB is below 15 dB; worst sample 3\nend")
    assert diverged(refusal) == "edgewright: SNR 10.9 dB is below 15 dB; worst sample 3"
    with pytest.raises(BadInput, match="no such file"):
        diverged(BadInput("convert failed:\nx.onnx: no such file"))


def test_scores_are_the_first_output() -> None:
    assert tasks.scores({"b": np.zeros(1), "a": np.ones(1)}).tolist() == [0.0]


def figures(network: Network, precision: str) -> Row:
    ours: Row = dict.fromkeys(peers.OURS, {"watch": 33.0, "vit:mixed": 60.0, "resnet18": 29.5}[network.name])
    return {"samples": precision} | ours | dict.fromkeys(peers.PEERS, 29.0)


def test_a_refused_file_misses_its_bar_and_random_weights_and_mixed_files_are_no_part_of_the_median(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def build(name: str, out: Path) -> tuple[Network, str]:
        if name == "vit":
            raise BadInput("convert failed:\nedgewright: top-1 agreement 73.4% is below 93.0%")
        return Network(name, out, out), name.partition(":")[2]

    monkeypatch.setattr(peers, "network", build)
    monkeypatch.setattr(peers, "compare", figures)
    trained, seeded = peers.measure(tmp_path, ("watch", "vit", "vit:mixed", "resnet18"))
    assert trained.rows[1] == {"network": "vit", "refused": "edgewright: top-1 agreement 73.4% is below 93.0%"}
    assert trained.rows[2]["samples"] == "mixed"
    assert [bar.measured for bar in trained.bars] == [4.0, float("-inf"), 31.0, float("-inf")]
    assert [bar.met for bar in trained.bars] == [True, False, True, False]
    assert [(bar.measured, bar.limit) for bar in seeded.bars] == [(0.5, 0.0)]
    (alone,) = peers.measure(tmp_path, ["vit:mixed"])
    assert [bar.what for bar in alone.bars] == ["vit:mixed: dB above the better peer"]


def test_unknown_networks_are_all_named_before_any_is_built(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no network alexnet, vit:int4; there are watch, "):
        peers.measure(tmp_path, ("watch", "vit:int4", "alexnet"))


def test_a_network_sees_128_calibration_samples_and_256_test_samples_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls: list[tuple[str, str, str]] = []

    def afresh(name: str, model: str, data: Path, folder: Path, precision: str = "int8") -> Network:
        calls.append((name, model, precision))
        return Network(name, folder, data)

    split = np.repeat(["train", "calibration", "validation", "test"], [50, 300, 40, 300])
    rows = Samples({"x": np.arange(len(split), dtype=np.float32)[:, None]}, None, split)
    monkeypatch.setattr(real, "samples", lambda _: rows)
    monkeypatch.setattr(real, "float_file", lambda name, _: tmp_path / f"{name}.onnx")
    monkeypatch.setattr(peers, "quantized_afresh", afresh)
    found, precision = peers.network("vit:mixed", tmp_path)
    assert precision == "mixed"
    assert calls == [("vit:mixed", str(tmp_path / "vit.onnx"), "mixed")]
    assert [len(found.part(part)) for part in ("train", "calibration", "validation", "test")] == [0, 128, 0, 256]
    assert set(found.part("calibration").inputs["x"].ravel()) <= set(range(50, 350))
    assert peers.network("watch", tmp_path)[1] == "int8"


def test_a_shipped_file_is_found_without_importing_its_package() -> None:
    assert real.shipped("onnx", "backend/test/data/light/light_resnet50.onnx").stat().st_size > 0
    with pytest.raises(BadInput, match=r"no installed package onnx has absent\.onnx"):
        real.shipped("onnx", "absent.onnx")
    with pytest.raises(BadInput, match="no installed package no_such_package has"):
        real.shipped("no_such_package", "x.onnx")


def test_samples_that_are_not_prepared_name_the_script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(real, "DATA", {"speech": tmp_path / "speech" / "x.npz"})
    with pytest.raises(BadInput, match=r"speech/x\.npz is absent: python .*speech/prepare\.py"):
        real.samples("speech")


def test_make_prepares_the_samples_of_every_network_and_each_has_a_source() -> None:
    makefile = Path("Makefile").read_text()
    for name, data in real.DATA.items():
        assert f"python {data.parent / 'prepare.py'}\n" in makefile
        assert name in real.SHIPPED or (Path("examples") / name / "edgewright.toml").exists()
    assert {name.partition(":")[0] for name in (*peers.REAL, *peers.MIXED)} == set(real.DATA)


def test_of_several_outputs_the_worst_counts() -> None:
    reference = [np.ones(4), np.ones(4)]
    assert peers.least_db(reference, [np.ones(4), np.full(4, 1.1)]) == pytest.approx(20)
    with pytest.raises(ValueError, match="shorter"):
        peers.least_db(reference, reference[:1])


def test_a_file_that_onnx_refuses_is_called_invalid_and_is_not_run(tmp_path: Path) -> None:
    def written(kind: str, permutation: list[int]) -> Path:
        node = onnx.helper.make_node(kind, ["x"], ["y"], perm=permutation)
        shapes = {"x": [2, 3], "y": [3, 2]}
        x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shapes[name]) for name in shapes)
        onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "g", [x], [y])), tmp_path / "x.onnx")
        return tmp_path / "x.onnx"

    assert invalid(written("Transpose", [1, 0])) is None
    assert str(invalid(written("Transpose", [0, 2, 3, 1]))).startswith("invalid file: [ShapeInferenceError]")
    assert str(invalid(written("Transposed", [1, 0]))).startswith("invalid file: No Op registered for Transposed")
