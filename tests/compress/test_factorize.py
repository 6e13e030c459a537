import copy
import json

import numpy as np
import onnx_ir
import onnxruntime
import pytest
import torch
from torch import nn

from edgewright.compress.factorize import Factorize, factorize
from edgewright.compress.factors.layers import total_macs
from edgewright.compress.passes import Given
from edgewright.data import Samples
from edgewright.edits import Edit, replay
from edgewright.errors import BadInput
from edgewright.export.capture import capture_module
from edgewright.export.onnx.simplify import simplify
from tests.models import NETWORKS, samples

EXACT = 1e-5
CONVOLUTIONS = {
    "strided": lambda: nn.Conv2d(8, 12, (3, 5), stride=(2, 1), padding=(1, 2), dilation=(1, 2)),
    "same": lambda: nn.Conv2d(8, 12, (4, 3), padding="same", dilation=2, bias=False),
    "grouped": lambda: nn.Conv2d(8, 12, 3, groups=2, padding=(2, 0)),
    "depthwise": lambda: nn.Conv2d(8, 8, 5, groups=8, padding=2),
}


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def given(shape, train=None):
    return Given({"x": torch.zeros(shape)}, train=train)


def seeded(make, shape, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make().eval(), torch.randn(shape)


def low_rank_linear(inputs, outputs, rank):
    layer = nn.Linear(inputs, outputs)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(outputs, rank) @ torch.randn(rank, inputs))
    return layer


def low_rank_conv(layer, way, rank):
    """Gives the weight of a convolution a low rank over (input, row) × (output, column), or over channels."""
    o, i, h, w = layer.weight.shape
    groups = layer.groups
    with torch.no_grad():
        if way == "spatial":
            left, right = torch.randn(groups, o // groups, w, rank), torch.randn(groups, rank, i, h)
            weight = torch.einsum("gowr,grih->goihw", left, right)
        else:
            ends = torch.randn(groups, o // groups, rank), torch.randn(groups, rank, i)
            weight = torch.einsum("gor,grshw,gsi->goihw", ends[0], torch.randn(groups, rank, rank, h, w), ends[1])
        layer.weight.copy_(weight.flatten(0, 1))
    return layer


def test_a_linear_layer_of_low_rank_is_split_without_loss():
    module, x = seeded(lambda: nn.Sequential(low_rank_linear(40, 30, 4), nn.ReLU(), nn.Linear(30, 3)), (5, 7, 40))
    smaller, edit = factorize(module, Factorize(rank_by="energy", fraction=0.9999999), given((1, 7, 40)))
    assert [(part.in_features, part.out_features) for part in smaller[0]] == [(40, 4), (4, 30)]
    assert torch.allclose(smaller(x), module(x), atol=EXACT * float(module(x).detach().abs().max()))
    assert edit.left == {"2": "no rank keeps 1 of its energy and saves anything"}


@pytest.mark.parametrize("weighting", ["none", "inputs"])
@pytest.mark.parametrize("way", ["spatial", "channel"])
@pytest.mark.parametrize("name", ["strided", "same", "grouped"])
def test_convolutions_keep_stride_padding_dilation_groups_and_bias(name, way, weighting):
    module, x = seeded(lambda: nn.Sequential(low_rank_conv(CONVOLUTIONS[name](), way, 2)), (3, 8, 15, 14))
    rank = 2 if way == "spatial" else (2, 2)
    config = Factorize(ranks={"0": rank}, weighting=weighting, convolutions=way)
    smaller, _ = factorize(module, config, given((1, 8, 15, 14), Samples({"x": x.numpy()})))
    assert len(smaller[0]) == (2 if way == "spatial" else 3)
    assert (smaller[0][-1].bias is None) == (module[0].bias is None)
    scale = float(module(x).detach().abs().max())
    assert torch.allclose(smaller(x), module(x), atol=(EXACT if weighting == "none" else 1e-3) * scale)
    assert parameters(smaller) < parameters(module)


def test_a_depthwise_convolution_is_split_spatially_and_a_pointwise_one_like_a_linear_layer():
    module, x = seeded(
        lambda: nn.Sequential(low_rank_conv(CONVOLUTIONS["depthwise"](), "spatial", 1), nn.Conv2d(8, 40, 1, stride=2)),
        (1, 8, 12, 12),
    )
    smaller, _ = factorize(module, Factorize(ranks={"0": 1, "1": 3}), given((1, 8, 12, 12)))
    assert [tuple(p.kernel_size) for p in smaller[0]] == [(5, 1), (1, 5)]
    assert torch.allclose(smaller[0](x), module[0](x), atol=EXACT)
    assert [(p.out_channels, p.stride) for p in smaller[1]] == [(3, (2, 2)), (40, (1, 1))]


@pytest.mark.parametrize("make", [lambda: nn.Conv1d(12, 12, 5, padding=2), lambda: nn.Conv3d(6, 8, 3, stride=2)])
def test_channels_in_one_and_three_axes(make):
    axes = 1 if isinstance(make(), nn.Conv1d) else 3
    shape = (2, make().in_channels, *(9,) * axes)
    module, x = seeded(lambda: nn.Sequential(make()), shape)
    smaller, edit = factorize(module, Factorize(rank_by="macs", fraction=0.6), given(shape))
    assert smaller(x).shape == module(x).shape
    assert total_macs(smaller, {"x": x}) <= 0.6 * total_macs(module, {"x": x})
    assert {part.kind for part in edit.replaced[0].parts} == {f"Conv{axes}d"}


@pytest.mark.parametrize(
    ("name", "rank_by"),
    [("watch_cnn", "parameters"), ("student_net", "macs"), ("resnet18", "macs"), ("mobilenet_v2", "parameters")],
)
def test_budgets_are_met_the_input_stays_and_the_edit_replays(name, rank_by):
    module, example = NETWORKS[name][0](), samples(name, 1)
    before = copy.deepcopy(module.state_dict())
    smaller, edit = factorize(module, Factorize(rank_by=rank_by, fraction=0.8), Given({"input": example}))
    measure = parameters if rank_by == "parameters" else lambda each: total_macs(each, {"input": example})
    assert 0.7 * measure(module) < measure(smaller) <= 0.8 * measure(module)
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())

    read = Edit.from_json(json.loads(json.dumps(edit.to_json())))
    rebuilt = NETWORKS[name][0]()
    replay(rebuilt, [read])
    rebuilt.load_state_dict(smaller.state_dict(), strict=True)
    assert torch.equal(rebuilt(example), smaller(example))
    assert read.left == edit.left


def test_the_saving_is_in_the_file_and_onnxruntime_answers_alike(tmp_path):
    module, example = NETWORKS["resnet18"][0](), samples("resnet18", 2)
    smaller, _ = factorize(module, Factorize(fraction=0.5), Given({"input": example}))
    sizes = []
    for index, each in enumerate((module, smaller)):
        model, _ = simplify(capture_module(each, {"input": example}))
        path = tmp_path / f"{index}.onnx"
        onnx_ir.save(model, path)
        sizes.append(path.stat().st_size)
    assert sizes[1] < 0.6 * sizes[0]
    answer = onnxruntime.InferenceSession(path).run(None, {"input": example.numpy()})[0]
    assert np.allclose(answer, smaller(example).detach().numpy(), atol=1e-4)


def narrow_inputs(count, seed):
    """Inputs of a Linear(24, 20) that lie near a plane of four directions."""
    generator = torch.Generator().manual_seed(seed)
    plane = torch.randn(4, 24, generator=torch.Generator().manual_seed(5))
    return torch.randn(count, 4, generator=generator) @ plane + 0.01 * torch.randn(count, 24, generator=generator)


def test_weighing_by_the_inputs_keeps_what_they_need():
    module, _ = seeded(lambda: nn.Sequential(nn.Linear(24, 20)), (1, 24))
    train, unseen = Samples({"x": narrow_inputs(200, 1).numpy()}), narrow_inputs(100, 2)
    loss = {}
    for weighting in ("none", "inputs"):
        smaller, _ = factorize(module, Factorize(ranks={"0": 4}, weighting=weighting), given((1, 24), train))
        loss[weighting] = float((smaller(unseen) - module(unseen)).detach().square().mean())
    assert loss["inputs"] < 1e-3 * loss["none"]


def test_sensitivity_spends_ranks_where_the_outputs_need_them():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.loud, self.quiet = nn.Linear(32, 32), nn.Linear(32, 32)

        def forward(self, x):
            return self.loud(x) + 0.01 * self.quiet(x)

    module, x = seeded(Two, (64, 32))
    ranks = {}
    for importance in ("energy", "sensitivity"):
        config = Factorize(importance=importance, fraction=0.6, weighting="none")
        smaller, _ = factorize(module, config, given((1, 32), Samples({"x": x.numpy()})))
        ranks[importance] = [layer[0].out_features if isinstance(layer, nn.Sequential) else 32
                             for layer in (smaller.loud, smaller.quiet)]  # fmt: skip
    assert abs(ranks["energy"][0] - ranks["energy"][1]) <= 2
    assert ranks["sensitivity"][0] > 3 * ranks["sensitivity"][1]


def test_ranks_are_multiples_and_the_same_input_gives_the_same_bytes():
    module, example = NETWORKS["resnet18"][0](), samples("resnet18", 1)
    train = Samples({"input": samples("resnet18", 8).numpy()})
    config = Factorize(round_to=8, fraction=0.75, importance="sensitivity")
    one, two = (factorize(module, config, Given({"input": example}, train)) for _ in range(2))
    assert all(torch.equal(value, two[0].state_dict()[key]) for key, value in one[0].state_dict().items())
    assert json.dumps(one[1].to_json()) == json.dumps(two[1].to_json())
    inner = [part.weight.shape[0] for each in one[1].replaced for part in one[0].get_submodule(each.layer)[:-1]]
    assert inner
    assert all(channels % 8 == 0 for channels in inner)


class Mixed(nn.Module):
    """Layers that a Sequential cannot stand for, beside one that it can."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(16, 16)
        self.twice = nn.Linear(16, 16)
        self.again = self.twice
        self.tied = nn.Linear(16, 16)
        self.tied.weight = self.body.weight
        self.read = nn.Linear(16, 16)
        self.free = nn.Linear(16, 16)
        self.idle = nn.Linear(16, 16)
        self.lstm = nn.LSTM(16, 16, batch_first=True)
        self.mirrored = nn.Conv1d(16, 16, 3, padding=1, padding_mode="circular")

    def forward(self, x):
        x = self.tied(self.again(self.twice(self.body(x)))) + self.free(x) + self.read(x) * self.read.weight.mean()
        return self.mirrored(self.lstm(x)[0].transpose(1, 2))


def test_layers_that_stay_are_listed_with_the_reason():
    module, _ = seeded(Mixed, (1, 9, 16))
    smaller, edit = factorize(module, Factorize(ranks={"free": 3}), given((1, 9, 16)))
    assert [replacement.layer for replacement in edit.replaced] == ["free"]
    assert smaller.free[0].out_features == 3
    assert edit.left == {
        "body": "another layer shares its weights",
        "tied": "another layer shares its weights",
        "twice": "it is shared by twice, again",
        "read": "the module reads its weights itself",
        "idle": "it is not called",
        "lstm": "a LSTM is not replaced",
        "mirrored": "its padding is 'circular', only zeros can move to another layer",
    }


def test_a_transformer_that_reads_its_weights_still_runs():
    module, x = seeded(lambda: nn.TransformerEncoderLayer(16, 2, 64, batch_first=True), (2, 5, 16))
    with pytest.raises(BadInput, match="no layer can be replaced") as refusal:
        factorize(module, Factorize(), given((2, 5, 16)))
    assert "linear1: the module reads its weights itself" in str(refusal.value)
    assert module(x).shape == x.shape


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"fraction": 1.0}, "fraction is 1.0, wanted a number between 0 and 1"),
        ({"rank_by": "size"}, "rank_by is 'size', wanted one of parameters, macs, energy"),
        ({"importance": "x", "samples": 0}, "importance is 'x', wanted one of .*; samples is 0, wanted 1 or more"),
        ({"ranks": {"fc": 0}}, "the rank of fc is 0, wanted one or two numbers"),
        ({"ranks": {"fc": (1, 2, 3)}}, "the rank of fc is"),
    ],
)
def test_bad_settings(config, reason):
    with pytest.raises(BadInput, match=reason):
        Factorize(**config)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"keep": ("fc",)}, r"keep names no layer\(s\) \['fc'\]"),
        ({"ranks": {"fc": 2}}, "fc: no such layer"),
        ({"ranks": {"0": 13}}, "0: rank 13 is out of range, wanted 1…12"),
        ({"ranks": {"0": (2, 2)}}, r"0: rank \(2, 2\) is out of range"),
        ({"ranks": {"0": 12}}, "0: rank 12 saves no parameters or no MACs"),
        ({"ranks": {"0": 2}, "keep": ("0",)}, "0: the recipe keeps it"),
        ({"fraction": 0.01}, "the budget leaves 2 of 288, but no ranks come below"),
        ({"keep": ("0", "2")}, "no layer can be replaced .0: the recipe keeps it; 2: the recipe keeps it"),
        ({"weighting": "inputs"}, 'weighting = "inputs" needs samples'),
        ({"importance": "sensitivity"}, 'importance = "sensitivity" needs samples'),
    ],
)
def test_refusals_name_the_reason(config, reason):
    module, _ = seeded(lambda: nn.Sequential(nn.Linear(20, 12), nn.ReLU(), nn.Linear(12, 3, bias=False)), (1, 20))
    with pytest.raises(BadInput, match=reason):
        factorize(module, Factorize(**config), given((1, 20)))


def test_the_whole_module_is_no_layer_of_it_and_frozen_layers_stay_frozen():
    with pytest.raises(BadInput, match="it is the whole module"):
        factorize(nn.Linear(8, 8), Factorize(), given((1, 8)))
    module, _ = seeded(lambda: nn.Sequential(nn.Linear(20, 20)), (1, 20))
    module.requires_grad_(False)
    smaller, _ = factorize(module, Factorize(), given((1, 20)))
    assert not any(parameter.requires_grad for parameter in smaller.parameters())
