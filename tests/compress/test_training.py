import contextlib
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from edgewright.compress.training import Training, accuracy_of, train_classifier
from edgewright.data import Samples
from edgewright.errors import BadData, BadInput
from edgewright.progress import Silent


def two_classes(count, seed):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, count)
    return Samples({"x": (generator.standard_normal((count, 4)) + labels[:, None] * 2).astype(np.float32)}, labels)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))


def test_it_learns_and_returns_the_best_validation_accuracy():
    module = network()
    best = train_classifier(module, two_classes(400, 0), two_classes(200, 1), Training(epochs=5, learning_rate=0.02))
    assert best > 0.93
    assert accuracy_of(module, two_classes(200, 1)) == best
    assert not module.training


def test_the_same_seed_gives_the_same_weights():
    def weights(seed):
        module = network()
        train_classifier(module, two_classes(65, 0), two_classes(50, 1), Training(epochs=2, seed=seed))
        return module[0].weight

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_refusals():
    unlabelled = Samples({"x": np.zeros((4, 4), np.float32)})
    with pytest.raises(BadData, match="labelled samples in the train part"):
        train_classifier(network(), unlabelled, two_classes(9, 0), Training())
    with pytest.raises(BadData, match="validation part; there are 0"):
        train_classifier(network(), two_classes(9, 0), two_classes(9, 0).at(np.arange(0)), Training())
    with pytest.raises(BadInput, match="epochs"):
        Training(epochs=0)
    huge = Samples({"x": np.full((64, 4), 3e38, np.float32)}, np.zeros(64, np.int64))
    with pytest.raises(BadData, match="not finite"):
        train_classifier(network(), huge, huge, Training(epochs=2))


def test_patience_stops_after_epochs_without_a_better_accuracy():
    alike = Samples(
        {"x": np.zeros((40, 4), np.float32)}, np.arange(40) % 2
    )  # nothing to learn: the first epoch is best
    counted = Counting()
    best = train_classifier(network(), alike, alike, Training(epochs=50, batch=10, patience=3), counted)
    assert best == 0.5 and counted.units == 4 * 4


def trained(checkpoints, progress=None):
    """Four epochs of four batches; dropout draws random numbers in every step."""
    layers = [*network()]
    module = nn.Sequential(*layers[:3], nn.Dropout(0.5), *layers[3:])
    settings = Training(epochs=4, batch=16)
    best = train_classifier(module, two_classes(60, 0), two_classes(50, 1), settings, progress, checkpoints=checkpoints)
    return best, module.state_dict()


KILLED = """
import pathlib, runpy
test = runpy.run_path({file!r})
test["trained"](pathlib.Path({folder!r}), test["Counting"](kill_at=11))
"""


def test_a_killed_training_goes_on_to_the_same_weights(tmp_path):
    best, weights = trained(None)
    script = KILLED.format(file=__file__, folder=str(tmp_path))
    assert subprocess.run([sys.executable, "-c", script], timeout=60).returncode == -signal.SIGKILL
    assert len(list(tmp_path.glob("training-*.safetensors"))) == 1
    counted = Counting()
    again, resumed = trained(tmp_path, counted)
    assert counted.steps == [8, *[1] * 8]  # two epochs of four batches were done
    assert again == best
    assert all(torch.equal(value, resumed[name]) for name, value in weights.items())
    once_more = Counting()
    assert trained(tmp_path, once_more)[0] == best and once_more.steps == [16]


def test_other_data_or_settings_start_anew(tmp_path):
    for settings, seed in ((Training(epochs=1), 0), (Training(epochs=1, seed=1), 0), (Training(epochs=1), 5)):
        train_classifier(network(), two_classes(60, seed), two_classes(50, 1), settings, checkpoints=tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


def test_a_damaged_checkpoint_is_refused(tmp_path):
    train_classifier(network(), two_classes(60, 0), two_classes(50, 1), Training(epochs=1), checkpoints=tmp_path)
    [file] = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(BadInput, match="no readable checkpoint"):
        train_classifier(network(), two_classes(60, 0), two_classes(50, 1), Training(epochs=1), checkpoints=tmp_path)


def test_a_loss_of_ones_own_needs_no_labels_and_gets_the_rows():
    train = Samples({"x": two_classes(33, 0).inputs["x"]})
    seen = []

    def loss(outputs, rows):
        seen.extend(rows.tolist())
        return ((outputs - 1) ** 2).mean()

    module = network()
    train_classifier(module, train, two_classes(20, 1), Training(epochs=200, batch=11, learning_rate=0.05), loss=loss)
    assert sorted(seen[:33]) == list(range(33)) and len(seen) == 33 * 200


def test_threads_and_random_numbers_are_left_alone():
    torch.manual_seed(3)
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    train_classifier(network(), two_classes(20, 0), two_classes(20, 1), Training(epochs=1))
    assert torch.get_num_threads() == threads
    torch.manual_seed(3)
    assert torch.get_rng_state().equal(state)


class Counting(Silent):
    """Counts the units of a task, and dies hard at one of them."""

    def __init__(self, kill_at=None):
        self.kill_at = kill_at
        self.steps = []

    @property
    def units(self):
        return sum(self.steps)

    @contextlib.contextmanager
    def task(self, _label, _total=None):
        yield self.advance

    def advance(self, units):
        self.steps.append(units)
        if self.units == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
