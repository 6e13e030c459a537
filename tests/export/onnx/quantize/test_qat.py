"""Quantization-aware training: accuracy comes back on grids that stay as calibration made them."""

import numpy as np
import onnx_ir as ir
import pytest

from edgewright.data import Samples
from edgewright.errors import BadData, BadInput, BadRecipe
from edgewright.export.onnx.file import contract_of, load_onnx
from edgewright.export.onnx.quantize.calibrate import observe
from edgewright.export.onnx.quantize.options import QuantizeOptions
from edgewright.export.onnx.quantize.plan import plan_int8
from edgewright.export.onnx.quantize.qat import Qat, fine_tune, parts
from edgewright.export.onnx.quantize.qdq import observed_tensors
from edgewright.export.onnx.quantize.quantized import Quantized, answers, quantized_copy
from edgewright.export.onnx.quantize.truth import make_truth
from edgewright.export.steps import Job
from edgewright.progress import Silent
from edgewright.recipe import read_recipe
from tests.models import CLASSES, NETWORKS, labelled

NAME = "watch_cnn"
COARSE = 48  # times the range that calibration saw: about five codes are left for the values of each tensor


def drawn(count: int, seed: int) -> Samples:
    inputs, labels = labelled(NETWORKS[NAME][1], CLASSES[NAME], count, seed)
    return Samples({"input": inputs.numpy()}, labels.numpy())


@pytest.fixture(scope="module")
def model(clean_models) -> ir.Model:
    return load_onnx(clean_models[NAME])


@pytest.fixture(scope="module")
def coarse(model) -> Quantized:
    """Quantized so coarsely that accuracy is lost."""
    contract, calibration = contract_of(model), drawn(32, 1)
    seen = observe(model, contract, observed_tensors(plan_int8(model)), calibration, Silent())
    ranges = {name: tuple(COARSE * end for end in each.range("minmax")) for name, each in seen.items()}
    return quantized_copy(model, ranges)


def accuracy(model: ir.Model, data: Samples) -> float:
    return float(np.mean(answers(model, contract_of(model), data)[0].argmax(1) == data.labels))


def tuned(model: ir.Model, given: Quantized, settings: Qat, *, labels: bool = True):
    train, validation = drawn(256, 300), drawn(128, 301)
    if not labels:
        train, validation = (Samples(each.inputs) for each in (train, validation))
    return fine_tune(model, given, contract_of(model), train, validation, settings, Silent())


def test_accuracy_that_quantization_lost_comes_back_on_the_same_grids(model, coarse):
    made, notes = tuned(model, coarse, Qat(epochs=12, learning_rate=0.5))
    test = drawn(512, 302)
    exact, before, after = (accuracy(each, test) for each in (model, coarse.model, made.model))
    assert before < exact - 0.05
    assert after > exact
    assert notes["kept"] and notes["accuracy"][1] > notes["accuracy"][0]
    old, new = coarse.model.graph.initializers, made.model.graph.initializers
    assert list(old) == list(new)
    assert all(old[k].const_value.tobytes() == new[k].const_value.tobytes() for k in old if k not in coarse.masters)
    assert any(not np.array_equal(old[k].const_value.numpy(), new[k].const_value.numpy()) for k in coarse.masters)


def test_without_labels_it_nears_the_float_network(model, coarse):
    _, notes = tuned(model, coarse, Qat(epochs=4), labels=False)
    assert notes["accuracy"] is None
    assert notes["snr_db"][1] > notes["snr_db"][0] + 0.3


def test_a_seed_gives_one_file(model, coarse):
    one, two, other = (tuned(model, coarse, Qat(epochs=1, seed=seed))[0].model for seed in (0, 0, 1))
    one, two, other = (ir.to_proto(each).SerializeToString(deterministic=True) for each in (one, two, other))
    assert one == two
    assert one != other


def test_what_was_better_before_is_kept(model, coarse):
    made, notes = tuned(model, coarse, Qat(epochs=1, learning_rate=1000.0))
    assert made is coarse
    assert notes["best_epoch"] == 0 and not notes["kept"]


def test_the_truth_trains_on_the_train_part_and_says_so(model):
    job = Job(calibration=drawn(32, 1), validation=drawn(48, 2), train=drawn(64, 3))
    options = QuantizeOptions("minmax", equalize=False, correct_bias=False, qat=Qat(epochs=1))
    truth = make_truth(model, contract_of(model), job, options, NAME)
    assert truth.notes["qat"]["train_samples"] == 64
    assert truth.notes["qat"]["validation_samples"] == 48


def test_parts_never_overlap_and_are_never_too_few():
    train, validation = parts(Job(), drawn(64, 1))
    assert (len(train), len(validation)) == (48, 16)
    assert parts(Job(train=drawn(20, 1), validation=drawn(9, 2)), drawn(64, 3))[0].inputs["input"].shape[0] == 20
    with pytest.raises(BadData, match="wants 8 of each"):
        parts(Job(), drawn(16, 1))


def test_the_recipe_gives_its_table_to_every_step_that_quantizes(tmp_path):
    path = tmp_path / "edgewright.toml"
    path.write_text('model = "m.py:f"\n[qat]\nepochs = 3\n[options.quantize]\nestimator = "minmax"\n')
    options = read_recipe(path).options
    assert options["quantize"] == QuantizeOptions("minmax", qat=Qat(epochs=3))
    path.write_text('model = "m.py:f"\n[qat]\nepoch = 3\n')
    with pytest.raises(BadRecipe, match=r"qat\.epoch; did you mean"):
        read_recipe(path)


def test_settings_refuse_what_cannot_be():
    with pytest.raises(BadInput, match="distill in 0…1"):
        Qat(distill=2.0)
