"""Shared weights: few values that survive every exporter's folding, trained as one, and listed."""

import copy
import json

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from torch import nn

from edgewright.compress.cluster import Cluster, cluster_weights
from edgewright.compress.kmeans import centroids
from edgewright.compress.passes import Given
from edgewright.compress.sharing.norms import settle_norms
from edgewright.compress.sharing.sensitivity import sensitivities
from edgewright.compress.training import Training, accuracy_of
from edgewright.data import Samples
from edgewright.edits import Edit, replay
from edgewright.errors import BadInput, BadModel

IMAGE = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def network(seed: int = 0) -> nn.Sequential:
    """Convolution, depthwise and transposed ones with norms that have seen data, a norm on its own, and a product."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1, groups=32, bias=False), nn.BatchNorm2d(32, affine=False), nn.ReLU(),
            nn.ConvTranspose2d(32, 16, 2, stride=2), nn.BatchNorm2d(16), nn.ReLU(), nn.BatchNorm2d(16),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 4),
        )  # fmt: skip
        for layer in net:
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.normal_()
                layer.running_var.uniform_(0.5, 2)
                if layer.affine:
                    nn.init.uniform_(layer.weight, -2, 2)
                    nn.init.normal_(layer.bias)
    return net.eval()


def labelled(count: int, seed: int) -> Samples:
    """Four classes that differ in the mean of the first channel's quadrants."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 4, count)
    images = generator.standard_normal((count, 3, 8, 8)).astype(np.float32)
    for row, label in enumerate(labels):
        images[row, 0, 4 * (label // 2) : 4 * (label // 2) + 4, 4 * (label % 2) : 4 * (label % 2) + 4] += 1.5
    return Samples({"image": images}, labels.astype(np.int64))


def distinct(tensor: torch.Tensor) -> int:
    return len(tensor.unique())


def test_each_layer_has_as_many_values_as_its_bits_allow_and_the_input_is_untouched():
    module = network()
    before = copy.deepcopy(module.state_dict())
    shared, edit = cluster_weights(module, Cluster(bits=3, depthwise_bits=5, smallest=200), Given({"image": IMAGE}))
    assert all(before[name].equal(tensor) for name, tensor in module.state_dict().items())
    assert edit.settings["clustered"] == {"0.weight": 3, "3.weight": 5, "6.weight": 3, "12.weight": 3}
    assert [distinct(shared[i].weight) for i in (0, 3, 6, 12)] == [8, 32, 8, 8]
    assert shared(IMAGE).shape == module(IMAGE).shape
    assert {name: t.shape for name, t in shared.state_dict().items()} == {name: t.shape for name, t in before.items()}


def test_layers_and_groups_of_channels_have_bits_and_tables_of_their_own():
    config = Cluster(bits=2, layers={"0": 4, "6.weight": 1}, keep=("12",), group_channels=20, smallest=200)
    shared, edit = cluster_weights(network(), config, Given({"image": IMAGE}))
    assert edit.settings["clustered"] == {"0.weight": 4, "3.weight": 6, "6.weight": 1}
    assert edit.left == {"12.weight": "keep names it"}
    assert [distinct(part) for part in shared[0].weight.split(16)] == [16, 16]  # 16 divides 32 channels, 20 does not
    assert distinct(shared[0].weight) == 32
    assert [distinct(part) for part in shared[6].weight.split(16, 1)] == [2]


def test_settled_norms_change_no_output_and_have_scale_one():
    module = network()
    wanted = module(IMAGE)
    settled = settle_norms(module, {"image": IMAGE})
    assert settled == ("1", "4", "7")  # not "9", which stands behind a ReLU
    torch.testing.assert_close(module(IMAGE), wanted, rtol=1e-4, atol=1e-4)
    for name in settled:
        norm = module.get_submodule(name)
        scale = (norm.running_var.double() + norm.eps).rsqrt() * (1 if norm.weight is None else norm.weight)
        assert float((scale - 1).detach().abs().max()) < 1e-7


def test_a_layer_that_others_read_too_keeps_its_norm():
    class Beside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.conv(x)
            return self.norm(y) + y

    assert settle_norms(Beside().eval(), {"x": IMAGE}) == ()


def test_zeros_of_a_pruned_weight_stay_zeros_through_training():
    module = network()
    with torch.no_grad():
        module[0].weight[::2] = 0
    given = Given({"image": IMAGE}, labelled(64, 1), labelled(32, 2), Training(epochs=1, batch=16))
    shared, _ = cluster_weights(module, Cluster(bits=2, smallest=200), given)
    assert float(shared[0].weight.detach()[::2].abs().max()) == 0
    assert distinct(shared[0].weight) == 4


def test_tuning_moves_whole_clusters_and_mends_what_they_cost():
    train, validation = labelled(512, 3), labelled(256, 4)
    module = network()
    config = Cluster(bits=2, depthwise_bits=2, smallest=200, weighting="none")
    plain, _ = cluster_weights(module, config, Given({"image": IMAGE}))
    given = Given({"image": IMAGE}, train, validation, Training(epochs=4, batch=32, learning_rate=1e-2))
    tuned, edit = cluster_weights(module, config, given)
    for index in (0, 3, 6, 12):
        _, clusters = plain[index].weight.unique(return_inverse=True)
        assert not plain[index].weight.equal(tuned[index].weight)
        for cluster in range(4):
            assert distinct(tuned[index].weight[clusters == cluster]) == 1
    assert float((tuned[1].bias - plain[1].bias).detach().abs().max()) > 0
    assert accuracy_of(tuned, validation) > accuracy_of(plain, validation) + 0.2
    assert tuned.state_dict().keys() == module.state_dict().keys()
    assert not any("parametri" in name for name, _ in tuned.named_modules())
    again, same = cluster_weights(module, config, given)
    assert all(tensor.equal(again.state_dict()[name]) for name, tensor in tuned.state_dict().items())
    assert json.dumps(edit.to_json()) == json.dumps(same.to_json())


def test_the_edit_replays_onto_a_fresh_module():
    shared, edit = cluster_weights(network(), Cluster(smallest=200), Given({"image": IMAGE}))
    fresh = network(seed=5)
    replay(fresh, [Edit.from_json(json.loads(json.dumps(edit.to_json())))])
    fresh.load_state_dict(shared.state_dict())
    assert fresh(IMAGE).equal(shared(IMAGE))


def test_recurrent_weights_and_those_of_attention_are_shared_and_a_tied_one_is_not():
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.attention = nn.LSTM(8, 16, batch_first=True), nn.MultiheadAttention(16, 2, batch_first=True)
            self.embed, self.out = nn.Linear(16, 20), nn.Linear(16, 20)
            self.out.weight, self.norm = self.embed.weight, nn.BatchNorm1d(16)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.norm(self.lstm(x)[0].transpose(1, 2)).transpose(1, 2)
            y = self.attention(y, y, y, need_weights=False)[0]
            return (self.out(y) + self.embed(y))[:, -1, :4]

    torch.manual_seed(0)
    sequence = torch.randn(1, 5, 8)
    data = Samples({"x": np.random.default_rng(0).standard_normal((16, 5, 8)).astype(np.float32)}, np.arange(16) % 4)
    given = Given({"x": sequence}, data, data, Training(epochs=1, batch=8))
    shared, edit = cluster_weights(Mixed().eval(), Cluster(bits=3, smallest=256), given)
    assert edit.left["embed.weight"] == "two layers share it"
    assert distinct(shared.lstm.weight_ih_l0) == distinct(shared.attention.in_proj_weight) == 8
    assert shared(sequence).shape == (1, 4)


def test_the_start_is_no_worse_than_the_best_of_ten_by_kmeans_plus_plus():
    generator = np.random.default_rng(0)
    points = np.sort(generator.standard_normal(4000) ** 3)
    weights = generator.uniform(0.1, 3, len(points))
    for k in (4, 16, 64):
        ours = centroids(points, weights, k)
        theirs = KMeans(k, n_init=10, random_state=0).fit(points[:, None], sample_weight=weights).cluster_centers_
        cost = [(weights * np.square(points[:, None] - each.reshape(1, -1)).min(1)).sum() for each in (ours, theirs)]
        assert cost[0] <= cost[1] * 1.001


def test_sensitivity_is_the_root_of_the_summed_squared_gradients():
    module = nn.Sequential(nn.Linear(3, 2, bias=False))
    inputs = np.random.default_rng(0).standard_normal((4000, 3)).astype(np.float32) * [1, 2, 4]
    found = sensitivities(module, [module[0].weight], Samples({"x": inputs.astype(np.float32)}), 0)[0]
    wanted = np.tile([1.0, 2.0, 4.0], (2, 1))
    np.testing.assert_allclose(found - 0.1, wanted / wanted.mean(), rtol=0.15)


def test_weighting_keeps_the_outputs_closer_where_inputs_differ_in_size():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(64, 32))
    scale = np.logspace(-2, 1, 64)
    with torch.no_grad():
        module[0].weight.div_(torch.from_numpy(np.sqrt(scale)))
    train = Samples({"x": (np.random.default_rng(0).standard_normal((256, 64)) * scale).astype(np.float32)})
    x = torch.from_numpy(train.inputs["x"])
    errors = {}
    for weighting in ("none", "gradients"):
        config = Cluster(bits=3, weighting=weighting, smallest=1)
        shared, _ = cluster_weights(module, config, Given({"x": x[:1]}, train))
        errors[weighting] = float((shared(x) - module(x)).detach().square().sum())
    assert errors["gradients"] < 0.5 * errors["none"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"bits": 9, "depthwise_bits": 0}, ["bits is 9", "depthwise_bits is 0"]),
        ({"layers": {"0": 1.5}}, ["layers.0 is 1.5"]),
        ({"weighting": "guess", "group_channels": -1}, ["weighting is 'guess'", "group_channels is -1"]),
    ],
)
def test_bad_settings_are_all_named(settings, words):
    with pytest.raises(BadInput) as caught:
        Cluster(**settings)
    assert all(word in str(caught.value) for word in words)


def test_what_cannot_be_done_says_why():
    given = Given({"image": IMAGE})
    with pytest.raises(BadInput, match=r"no weight is named 5.weight; there are 0.weight"):
        cluster_weights(network(), Cluster(keep=("5.weight",)), given)
    with pytest.raises(BadInput, match=r"0.weight: 864 weights, fewer than 9000"):
        cluster_weights(network(), Cluster(smallest=9000), given)
    with pytest.raises(BadInput, match="needs samples in the train part"):
        cluster_weights(network(), Cluster(weighting="gradients", smallest=1), given)
    with pytest.raises(BadInput, match="finetune needs samples"):
        cluster_weights(network(), Cluster(smallest=1), Given({"image": IMAGE}, finetune=Training()))

    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.norm = nn.Linear(8, 8), nn.BatchNorm1d(8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(self.fc(x)) if float(x.sum()) > 0 else x

    with pytest.raises(BadModel, match="torch cannot export Branching"):
        cluster_weights(Branching(), Cluster(smallest=1), Given({"x": torch.ones(1, 8)}))
