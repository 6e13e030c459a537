import json

import numpy as np
import pytest

from edgewright.data import Samples
from edgewright.devices.spec import Precision
from edgewright.errors import BadData
from edgewright.export.hop import Verdict
from edgewright.export.verify import LIMITS, Fidelity, fidelity, first_bad_tensor, limit_for, shortfalls

SAMPLES = Samples({"x": np.zeros((4, 1), np.float32)}, labels=np.array([0, 1, 2, 0]))
TRUTH = {"y": np.array([[3, 0, 0], [0, 3, 0], [0, 0, 3], [0, 3, 0]], np.float32)}


def test_the_figures_of_a_known_error():
    answer = {"y": TRUTH["y"].copy()}
    answer["y"][0] = [0, 3, 0]
    found = fidelity(TRUTH, answer, SAMPLES)
    assert found.snr_db == pytest.approx(10 * np.log10(36 / 18))
    assert (found.max_abs, found.top1_agreement, found.accuracy, found.samples) == (3.0, 0.75, 0.5, 4)
    assert not found.synthetic


def test_equal_answers_and_json_round_trip():
    found = fidelity(TRUTH, TRUTH, SAMPLES)
    assert found.snr_db == float("inf") and found.accuracy == 0.75
    assert Fidelity.from_json(found.to_json()) == found
    verdict = Verdict(vs_parent=found, unverified=None, runtime="torch")
    assert Verdict.from_json(verdict.to_json()) == verdict


def test_an_answer_that_is_not_finite_never_passes():
    found = fidelity(TRUTH, {"y": np.full((4, 3), np.nan, np.float32)}, SAMPLES)
    assert found.snr_db == float("-inf")
    text = json.dumps(found.to_json(), allow_nan=False)
    assert Fidelity.from_json(json.loads(text)).snr_db == float("-inf")
    assert len(shortfalls(found, LIMITS[Precision.INT8])) == 2


def test_the_worst_output_counts_and_a_large_one_hides_nothing():
    truth = {"large": np.full((4, 2, 2), 1000.0), "small": np.ones((4, 2, 2))}
    found = fidelity(truth, {"large": truth["large"], "small": truth["small"] * 1.1}, SAMPLES)
    assert found.snr_db == pytest.approx(20)


def test_outputs_without_classes_have_no_top1():
    image = {"y": np.ones((4, 2, 2), np.float32)}
    assert fidelity(image, image, SAMPLES).top1_agreement is None


def test_shapes_and_names_must_match():
    with pytest.raises(BadData, match="z is missing"):
        fidelity({"z": TRUTH["y"]}, TRUTH, SAMPLES)
    with pytest.raises(BadData, match=r"y has shape \(3, 4\), wanted \(4, 3\)"):
        fidelity(TRUTH, {"y": TRUTH["y"].T}, SAMPLES)


def test_a_lowering_of_int8_is_held_closer_than_a_quantization():
    quantizing = limit_for(Precision.INT8, Precision.FLOAT32)
    lowering = limit_for(Precision.INT8, Precision.INT8)
    assert lowering.snr_db > quantizing.snr_db and lowering.top1_agreement > quantizing.top1_agreement
    assert {limit_for(precision, Precision.FLOAT32) for precision in Precision} == set(LIMITS.values())


def test_shortfalls_say_by_how_much():
    found = Fidelity(100, 1.0, 12.34, 0.9, None, False)
    assert shortfalls(found, LIMITS[Precision.INT8]) == [
        "SNR 12.3 dB is below 15 dB",
        "top-1 agreement 90.00% is below 93.0%",
    ]


def test_one_flip_is_a_tie_and_two_are_a_difference():
    def missed(samples, agreement):
        return shortfalls(
            Fidelity(samples, 0.1, 50.0, agreement, None, False), limit_for(Precision.INT8, Precision.INT8)
        )

    assert missed(20, 0.95) == []
    assert missed(20, 0.90) == ["top-1 agreement 90.00% is below 98.0%"]
    assert missed(1000, 0.981) == [] and len(missed(1000, 0.979)) == 1


def test_the_first_bad_tensor_is_found_through_a_change_of_layout():
    generator = np.random.default_rng(0)
    good, bad, late = (generator.standard_normal((1, 4, 5, 6)).astype(np.float32) for _ in range(3))
    reference = {"good": good, "alone": good, "bad": bad, "late": late}
    candidate = {"good": good.transpose(0, 2, 3, 1), "bad": (bad + 0.3).transpose(0, 2, 3, 1), "late": late * 0}
    name, measured = first_bad_tensor(reference, candidate, 40)
    assert name == "bad" and 8 < measured < 13
    assert first_bad_tensor(reference, {"good": candidate["good"]}, 40) is None


def test_a_1d_tensor_held_as_four_axes_is_read():
    values = np.random.default_rng(0).standard_normal((1, 4, 6)).astype(np.float32)
    assert first_bad_tensor({"t": values}, {"t": values.transpose(0, 2, 1)[:, None]}, 100) is None
