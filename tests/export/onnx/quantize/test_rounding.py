"""Learned rounding: better on samples it never saw, on the same grids, the same bytes, within its budget."""

import numpy as np
import onnx_ir as ir
import pytest

from edgewright.data import Samples
from edgewright.errors import BadInput
from edgewright.export.onnx.file import contract_of, load_onnx
from edgewright.export.onnx.quantize.options import QuantizeOptions
from edgewright.export.onnx.quantize.quantized import judge_of
from edgewright.export.onnx.quantize.rounding import STEPS, learn_rounding, seconds_per_step
from edgewright.export.onnx.quantize.truth import Truth, make_truth
from edgewright.export.steps import Job
from edgewright.progress import Silent
from tests.models import samples

NAME = "watch_cnn"


def drawn(count: int, seed: int) -> Samples:
    return Samples({"input": samples(NAME, count, seed=seed).numpy()})


@pytest.fixture(scope="module")
def model(clean_models) -> ir.Model:
    return load_onnx(clean_models[NAME])


def truth(model: ir.Model, **options) -> Truth:
    job = Job(calibration=drawn(96, 1), validation=drawn(32, 2))
    settings = QuantizeOptions("minmax", equalize=False, correct_bias=False, **options)
    return make_truth(model, contract_of(model), job, settings, NAME)


def test_it_gains_on_unseen_samples_and_moves_nothing_but_integers(model):
    nearest, learned = truth(model), truth(model, rounding="learned")
    notes = learned.notes["learned_rounding"]
    assert notes["kept"] and notes["after_db"] > notes["before_db"]
    assert notes["steps"] == STEPS and not notes["cut_by_budget"]
    judge = judge_of(model, contract_of(model), drawn(256, 3))
    assert judge.snr_db(learned.quantized.model) > judge.snr_db(nearest.quantized.model) + 0.2
    old, new = (each.quantized.model.graph.initializers for each in (nearest, learned))
    assert list(old) == list(new)
    same = [key for key in old if key not in nearest.quantized.masters]
    assert all(old[key].const_value.tobytes() == new[key].const_value.tobytes() for key in same)
    weights = [new[key].const_value.numpy() for key in nearest.quantized.masters]
    assert min(int(codes.min()) for codes in weights if codes.dtype == np.int8) >= -127


def test_the_same_bytes_every_time(model):
    contract, given = contract_of(model), truth(model).quantized
    made = [learn_rounding(model, given, contract, drawn(32, 1), drawn(16, 2), Silent(), 1)[0].model for _ in range(2)]
    one, two = (ir.to_proto(each).SerializeToString(deterministic=True) for each in made)
    assert one == two


def test_a_budget_is_counted_in_steps_and_a_cut_is_on_record(model):
    given = truth(model).quantized
    seconds = 1
    _, notes = learn_rounding(model, given, contract_of(model), drawn(32, 1), drawn(16, 2), Silent(), seconds)
    assert notes["steps"] == min(STEPS, int(seconds / seconds_per_step(given.model, 16)))
    assert notes["cut_by_budget"]


def test_what_does_not_gain_is_not_kept(model):
    """Calibrated on a constant, it fits that constant."""
    given, flat = truth(model).quantized, Samples({"input": np.full((32, 6, 100), 0.01, np.float32)})
    kept, notes = learn_rounding(model, given, contract_of(model), flat, drawn(64, 2), Silent(), 600)
    assert not notes["kept"] and kept is given
    assert notes["after_db"] == notes["before_db"]


def test_options_refuse_what_they_do_not_know():
    with pytest.raises(BadInput, match="nearest, gptq, learned"):
        QuantizeOptions(rounding="best")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="at least 1"):
        QuantizeOptions(rounding_seconds=0)
