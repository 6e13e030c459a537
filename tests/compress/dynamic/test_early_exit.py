import numpy as np
import pytest
import torch
from torch import nn

from edgewright.compress.dynamic.stages import cut
from edgewright.compress.dynamic.together import answers_of
from edgewright.compress.early_exit import EarlyExit, with_exits
from edgewright.compress.passes import Given
from edgewright.compress.training import Training
from edgewright.data import Samples
from edgewright.errors import BadData, BadInput, BadModel
from tests.models import NETWORKS, samples


class Skipping(nn.Module):
    """The first layer's features, and the input itself, are used again behind the exit's layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.relu = nn.Linear(6, 6), nn.Linear(6, 6), nn.ReLU(inplace=True)
        self.last = nn.Linear(6, 3)

    def forward(self, x):
        first = self.first(x)
        second = self.second(first)
        return self.last(self.relu(second) + first + x)


def through(stages, held):
    for stage in stages:
        held |= zip(stage.outputs, stage.module(*(held[name] for name in stage.inputs)), strict=True)
    return [held[stage.scores] for stage in stages]


@pytest.mark.parametrize(("name", "layers"), [("watch_cnn", ("3", "7")), ("resnet18", ("4", "6"))])
def test_stages_answer_like_the_whole_and_their_macs_add_up(name, layers):
    module, example = NETWORKS[name][0](), samples(name, 1)
    exits = with_exits(module, EarlyExit(layers), Given({"input": example}))
    stages = cut(exits, {"input": example})
    for mine, wanted in zip(through(stages, {"input": example}), exits(example), strict=True):
        assert torch.equal(mine, wanted)
    assert torch.equal(exits(example)[-1], module(example))
    [whole] = cut(nn.Sequential(module, Tupled()), {"input": example})
    heads = sum(head[-1].weight.numel() for head in exits.heads)
    assert sum(stage.macs for stage in stages) == whole.macs + heads


class Tupled(nn.Module):
    def forward(self, x):
        return (x * 1,)


def test_all_that_crosses_a_cut_is_carried_along():
    torch.manual_seed(0)
    x = torch.randn(1, 6)
    exits = with_exits(Skipping(), EarlyExit(("second",)), Given({"x": x}))
    first, second = cut(exits, {"x": x})
    assert first.outputs == ("scores_1", "features_1", "features_1_1")
    assert set(second.inputs) == {"x", "features_1", "features_1_1"}
    for mine, wanted in zip(through((first, second), {"x": x}), exits(x), strict=True):
        assert torch.equal(mine, wanted)


def test_a_stage_without_operators_is_refused():
    twice = with_exits(nn.Sequential(nn.Linear(2, 2)), EarlyExit(("0",)), Given({"x": torch.zeros(1, 2)}))
    twice.heads[0] = nn.Identity()
    with pytest.raises(BadModel, match="exit 2 has no operators of its own"):
        cut(twice, {"x": torch.zeros(1, 2)})


def test_refusals_name_every_layer():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.unused, self.b = nn.Linear(4, 4), nn.Linear(1, 1), nn.Linear(4, 1)

        def forward(self, x):
            return self.b(self.a(self.a(x)))

    given = Given({"x": torch.zeros(1, 4)})
    with pytest.raises(BadInput, match=r"layers names no layer\(s\) \['c'\]"):
        with_exits(Odd(), EarlyExit(("c",)), given)
    with pytest.raises(BadInput, match=r"a is called 2 times.*unused is called 0 times.*scores \[n, classes\]"):
        with_exits(Odd(), EarlyExit(("a", "unused")), given)
    with pytest.raises(BadInput, match="in the order 3, 7"):
        with_exits(NETWORKS["watch_cnn"][0](), EarlyExit(("7", "3")), Given({"input": samples("watch_cnn", 1)}))
    with pytest.raises(BadInput, match=r"each once; pool is 0.*drop is 2.*mean_cost is 3"):
        EarlyExit((), pool=0, drop=2, mean_cost=3)


def halves(seed: int) -> Samples:
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(128, 6)).astype(np.float32)
    return Samples({"x": x}, (x.sum(axis=1) > 0).astype(np.int64))


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)).eval()


def test_training_teaches_every_exit_and_leaves_the_module_alone():
    module, given = network(), Given({"x": torch.zeros(1, 6)}, halves(0), halves(1), Training(12, learning_rate=0.02))
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    exits, again = (with_exits(module, EarlyExit(("2",)), given) for _ in range(2))
    accuracies = [(each.argmax(1) == halves(2).labels).mean() for each in answers_of(exits, halves(2))]
    assert min(accuracies) > 0.85
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in exits.state_dict().items())
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_a_frozen_backbone_keeps_its_weights_and_statistics():
    module, given = network(), Given({"x": torch.zeros(1, 6)}, halves(0), halves(1), Training(4, learning_rate=0.02))
    exits = with_exits(module, EarlyExit(("2",), frozen=True), given)
    kept = exits.backbone.state_dict()
    assert all(torch.equal(tensor, kept[name]) for name, tensor in module.state_dict().items())
    assert all(parameter.requires_grad for parameter in exits.parameters())


def test_training_wants_labels():
    unlabelled = Samples(halves(0).inputs)
    with pytest.raises(BadData, match="early exits: training needs labelled samples"):
        with_exits(network(), EarlyExit(("2",)), Given({"x": torch.zeros(1, 6)}, unlabelled, unlabelled, Training(1)))
