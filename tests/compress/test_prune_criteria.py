"""What the criteria say, by figures worked out apart from them; targets are met by the least that goes."""

from dataclasses import asdict

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from edgewright.compress.passes import Given
from edgewright.compress.prune import CRITERIA, Prune, prune_channels
from edgewright.compress.pruning.coupling import couplings
from edgewright.compress.pruning.criteria import scores
from edgewright.compress.training import Training
from edgewright.data import Samples
from edgewright.errors import BadData, BadInput
from tests.models import NETWORKS, labelled, samples

EXAMPLE = {"x": torch.zeros(1, 2)}


def two_layers():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 4, bias=False), nn.ReLU(), nn.Linear(4, 3)).eval()


def worth(module, criterion, train=None, example=EXAMPLE):
    found, _ = couplings(module, tuple(example.values()), ())
    made, _ = scores(module, found, criterion, Given(example, train), 512)
    return made[0]


def data(count=96, labels=True):
    inputs = np.random.default_rng(0).standard_normal((count, 2)).astype(np.float32)
    return Samples({"x": inputs}, np.arange(count) % 3 if labels else None)


@pytest.mark.parametrize(("criterion", "power"), [("l1", 1), ("l2", 2)])
def test_norms_are_of_what_writes_and_what_reads_a_channel(criterion, power):
    module = two_layers()
    written, read = (layer.weight.detach().numpy() for layer in (module[0], module[2]))
    norms = [np.linalg.norm(written, power, axis=1), np.linalg.norm(read, power, axis=0)]
    wanted = sum(norm / norm.mean() for norm in norms) / 2
    np.testing.assert_allclose(worth(module, criterion).numpy(), wanted, rtol=1e-5)


def test_activations_are_counted_and_averaged_where_they_are_read():
    module, train = two_layers(), data(labels=False)
    seen = np.maximum(train.inputs["x"] @ module[0].weight.detach().numpy().T, 0)
    for criterion, values in (("apoz", seen != 0), ("activation", seen)):
        mean = values.mean(0)
        np.testing.assert_allclose(worth(module, criterion, train).numpy(), mean / mean.mean(), rtol=1e-5)


def test_taylor_is_the_squared_change_of_the_loss_batch_by_batch():
    module, train = two_layers(), data(128)
    wanted = torch.zeros(4)
    for start in (0, 64):
        inputs, labels = (
            torch.tensor(train.inputs["x"][start : start + 64]),
            torch.tensor(train.labels[start : start + 64]),
        )
        gates = torch.ones(4, requires_grad=True)  # a gate behind each filter: its gradient at 1 is Σ gradient · weight
        hidden = torch.relu(inputs @ (module[0].weight.detach() * gates[:, None]).T)
        nn.functional.cross_entropy(module[2](hidden), labels).backward()
        wanted += gates.grad.square()
    torch.testing.assert_close(worth(module, "taylor", train), wanted)
    module.zero_grad()
    worth(module, "taylor", train)
    assert all(parameter.grad is None for parameter in module.parameters())


def test_batch_norm_scales_decide_and_a_layer_without_says_so():
    module = nn.Sequential(
        nn.Conv1d(2, 4, 1), nn.BatchNorm1d(4), nn.ReLU(), nn.Conv1d(4, 6, 1), nn.Conv1d(6, 2, 1)
    ).eval()
    with torch.no_grad():
        module[1].weight.copy_(torch.tensor([0.1, -3.0, 2.0, 0.2]))
    pruned, edit = prune_channels(module, Prune(0.5, criterion="bn"), Given({"x": torch.zeros(1, 2, 5)}))
    assert pruned[1].weight.tolist() == pytest.approx([-3.0, 2.0])
    assert edit.left["3"] == "no batch norm stands behind it" and pruned[3].out_channels == 6


@pytest.mark.parametrize("criterion", CRITERIA)
def test_every_criterion_prunes_a_network_of_true_topology(criterion):
    inputs, labels = labelled((3, 64, 64), 10, 16, seed=3)
    given = Given({"input": inputs[:1]}, Samples({"input": inputs.numpy()}, labels.numpy()))
    one, two = (
        prune_channels(NETWORKS["resnet18"][0](), Prune(0.5, criterion=criterion, scope="global"), given) for _ in "ab"
    )
    assert one[1] == two[1] and one[1].settings == asdict(Prune(0.5, criterion=criterion, scope="global"))
    assert all(
        torch.equal(a, b) for a, b in zip(one[0].state_dict().values(), two[0].state_dict().values(), strict=True)
    )
    assert one[0](inputs).shape == (16, 10)


def macs(module, example):
    with FlopCounterMode(display=False) as counter:
        module(example)
    return counter.get_total_flops() / 2


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_a_target_is_met_closely(scope):
    module, example = NETWORKS["mobilenet_v2"][0](), samples("mobilenet_v2", 1)
    given = Given({"input": example}, cost=lambda each: sum(p.numel() for p in each.parameters()) ** 0.5)
    pruned, _ = prune_channels(module, Prune(0.5, target="macs", scope=scope), given)
    assert 0.46 < macs(pruned, example) / macs(module, example) <= 0.5
    for target, least in (("parameters", 0.66), ("cost", 0.66)):
        pruned, _ = prune_channels(module, Prune(0.3, target=target, scope=scope), given)
        left = sum(p.numel() for p in pruned.parameters()) / sum(p.numel() for p in module.parameters())
        assert least <= (left if target == "parameters" else left**0.5) <= 0.7


def test_global_pruning_takes_whole_layers_of_least_worth_but_never_all_of_one():
    module = nn.Sequential(nn.Conv1d(2, 10, 1), nn.ReLU(), nn.Conv1d(10, 10, 1), nn.ReLU(), nn.Conv1d(10, 2, 1)).eval()
    with torch.no_grad():
        module[0].weight.copy_(torch.cat([torch.full((2, 2), 100.0), torch.full((8, 2), 0.001)])[..., None])
        module[2].weight.fill_(1.0)
    pruned, _ = prune_channels(module, Prune(0.45, scope="global", most=0.5), Given({"x": torch.zeros(1, 2, 3)}))
    assert pruned[0].out_channels == 5 and pruned[2].out_channels > 5


def test_gradual_pruning_trains_between_the_steps_and_ends_where_one_step_does():
    module, example = NETWORKS["watch_cnn"][0](), samples("watch_cnn", 1)
    seen = []

    def fit(network, train, validation, settings, progress):  # noqa: ARG001
        seen.append([layer.out_channels for layer in network.modules() if isinstance(layer, nn.Conv1d)])
        network.train()
        return 0.5

    part = Samples({"input": example.numpy()}, np.zeros(1, np.int64))
    given = Given({"input": example}, part, part, Training(epochs=1), fit)
    pruned, _ = prune_channels(module, Prune(0.5, steps=4), given)
    widths = [layer.out_channels for layer in pruned.modules() if isinstance(layer, nn.Conv1d)]
    assert seen == [[14, 28, 42], [12, 24, 36], [10, 20, 30]] and widths == [8, 16, 24]
    assert not any(layer.training for layer in pruned.modules())


def test_refusals_say_what_is_missing():
    module, example = NETWORKS["watch_cnn"][0](), samples("watch_cnn", 1)
    given = Given({"input": example}, Samples({"input": example.numpy()}))
    with pytest.raises(BadData, match="criterion 'taylor' reads labelled samples of the train part"):
        prune_channels(module, Prune(criterion="taylor"), given)
    with pytest.raises(BadData, match="criterion 'apoz' reads samples of the train part"):
        prune_channels(module, Prune(criterion="apoz"), Given({"input": example}))
    with pytest.raises(BadInput, match=r"target 'cost' needs a function .*; 3 steps need fine-tuning between them"):
        prune_channels(module, Prune(target="cost", steps=3), given)
    with pytest.raises(BadInput, match=r"macs cannot fall to .*: with all removable channels gone .* stay"):
        prune_channels(module, Prune(0.9, target="macs", most=0.3), given)
