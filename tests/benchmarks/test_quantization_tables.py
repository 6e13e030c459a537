import json
import re
from pathlib import Path

import numpy as np
import pytest

from edgewright.benchmarks.quantization import metrics, peers, tasks
from edgewright.benchmarks.quantization.networks import Network, diverged, edgewright, write_data
from edgewright.benchmarks.quantization.peers import gain_db
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
    row: Row = {"onnx:int8": 30.0, "tflite:int8": 29.0, "quantize_static MinMax": 25.0, "ai-edge-quantizer": 27.0}
    assert gain_db(row | {"quantize_static Entropy": 40.0}) == 2.0


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


def test_a_network_whose_int8_file_is_refused_misses_its_bar_and_the_others_are_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def build(name: str, out: Path) -> Network:
        if name == "bad":
            raise BadInput("convert failed:\nedgewright: top-1 agreement 73.4% is below 93.0%")
        return Network(name, out, out)

    def figures(network: Network) -> Row:
        ours: Row = dict.fromkeys(peers.OURS, 33.0)
        return {"network": network.name} | ours | dict.fromkeys(peers.PEERS, 29.0)

    monkeypatch.setattr(peers, "network", build)
    monkeypatch.setattr(peers, "compare", figures)
    table = peers.measure(tmp_path, ("good", "bad"))
    assert table.rows[1] == {"network": "bad", "refused": "edgewright: top-1 agreement 73.4% is below 93.0%"}
    assert [bar.met for bar in table.bars] == [True, False, False]
