import numpy as np
import pytest
import torch
from torch import nn

from edgewright.compress.training import Training, accuracy_of, train_classifier
from edgewright.data import Samples
from edgewright.errors import BadData, BadInput


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
