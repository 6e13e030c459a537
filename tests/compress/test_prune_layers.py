"""Channels go through every kind of layer, or stay for a reason that names one."""

import json

import pytest
import torch
from torch import nn

from edgewright.compress.passes import Given
from edgewright.compress.prune import Prune, prune_channels
from edgewright.edits import Edit, replay
from edgewright.errors import BadInput

SEQUENCE, IMAGE = (1, 10, 6), (1, 3, 8, 8)


class Recurrent(nn.Module):
    def __init__(self, kind, *, last_state=False, **settings):
        super().__init__()
        self.front = nn.Linear(6, 16)
        self.rnn = kind(16, 24, batch_first=True, **settings)
        self.head = nn.Linear(24 * (2 if settings.get("bidirectional") else 1), 5)
        self.last_state = last_state

    def forward(self, x):
        outputs, state = self.rnn(torch.relu(self.front(x)))
        state = state[0] if isinstance(state, tuple) else state
        return self.head(state[-1] if self.last_state else outputs[:, -1])


class Branches(nn.Module):
    """Concat, grouped and transposed convolutions, a residual add."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(3, 8, 3, padding=1)
        self.grouped = nn.Conv2d(16, 16, 3, groups=4, padding=1)
        self.mixed = nn.Conv2d(16, 16, 1)
        self.upward = nn.ConvTranspose2d(16, 8, 2, 2)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        both = torch.cat([self.left(x), self.right(x)], 1)
        both = torch.relu(both + self.mixed(torch.relu(self.grouped(both))))
        return self.head(torch.relu(self.upward(both)).mean((2, 3)))


def depthwise():
    layers = [nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.PReLU(8), nn.Conv2d(8, 8, 3, groups=8), nn.PReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * 36, 12), nn.ReLU(), nn.Linear(12, 3))


def transposed():
    grouped = nn.ConvTranspose2d(8, 12, 3, groups=4)
    depthwise_ = nn.ConvTranspose2d(12, 12, 3, groups=12)
    return nn.Sequential(
        nn.Conv2d(3, 8, 1), grouped, nn.InstanceNorm2d(12, affine=True), depthwise_, nn.Conv2d(12, 2, 1)
    )


def sized(layer):
    return {name: size for name, size in vars(layer).items() if name.endswith(("_channels", "_size", "_features"))}


WHOLE = {
    "lstm": (lambda: Recurrent(nn.LSTM), SEQUENCE),
    "lstm, 2 levels, both ways": (lambda: Recurrent(nn.LSTM, num_layers=2, bidirectional=True), SEQUENCE),
    "lstm, its state": (lambda: Recurrent(nn.LSTM, last_state=True), SEQUENCE),
    "gru": (lambda: Recurrent(nn.GRU), SEQUENCE),
    "gru, 2 levels, its state": (lambda: Recurrent(nn.GRU, num_layers=2, last_state=True), SEQUENCE),
    "rnn": (lambda: Recurrent(nn.RNN), SEQUENCE),
    "branches": (Branches, IMAGE),
    "depthwise, flattened": (depthwise, IMAGE),
    "transposed, grouped": (transposed, IMAGE),
}


@pytest.mark.parametrize("name", list(WHOLE))
def test_channels_go_through_every_layer_and_the_edit_replays(name):
    build, shape = WHOLE[name]
    torch.manual_seed(1)
    module, example = build().eval(), torch.randn(shape)
    pruned, edit = prune_channels(module, Prune(0.5), Given({"x": example}))
    assert len(edit.left) == 1 and "are outputs of the module" in next(iter(edit.left.values()))
    assert sum(p.numel() for p in pruned.parameters()) < 0.5 * sum(p.numel() for p in module.parameters())
    assert pruned(example).shape == module(example).shape

    torch.manual_seed(1)
    rebuilt = build().eval()
    replay(rebuilt, [Edit.from_json(json.loads(json.dumps(edit.to_json())))])
    rebuilt.load_state_dict(pruned.state_dict(), strict=True)
    assert torch.equal(rebuilt(example), pruned(example))
    assert [sized(layer) for layer in rebuilt.modules()] == [sized(layer) for layer in pruned.modules()]


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_recurrent_layer_loses_its_dead_hidden_units_without_a_change(kind):
    torch.manual_seed(2)
    module, example = Recurrent(kind, num_layers=2, bidirectional=True).eval(), torch.randn(3, 10, 6)
    dead = [1, 4, 5, 9, 10, 11, 12, 17, 20, 21, 22, 23]
    with torch.no_grad():
        for name, parameter in module.rnn.named_parameters():
            parameter.unflatten(0, (-1, 24))[:, dead] *= 1e-3  # their own weights are small
            if name.startswith(("weight_hh", "weight_ih_l1")):
                parameter.unflatten(1, (-1, 24))[:, :, dead] = 0
        module.head.weight.unflatten(1, (-1, 24))[:, :, dead] = 0
    before = module(example)
    pruned, _ = prune_channels(module, Prune(0.5, keep=("front",)), Given({"x": example[:1]}))
    assert pruned.rnn.hidden_size == 12 and pruned.rnn.input_size == 16
    torch.testing.assert_close(pruned(example), before, rtol=0, atol=1e-6)


def test_a_grouped_convolution_keeps_its_groups_alike():
    torch.manual_seed(3)
    pruned, _ = prune_channels(Branches().eval(), Prune(0.5), Given({"x": torch.zeros(IMAGE)}))
    assert (pruned.grouped.groups, pruned.grouped.in_channels, pruned.grouped.out_channels) == (4, 8, 8)
    assert pruned.grouped.weight.shape == (8, 2, 3, 3) and pruned.upward.weight.shape == (8, 4, 2, 2)


class Attention(nn.Module):
    """Attention of its own making whose reshape wants the width that it was made with."""

    def __init__(self):
        super().__init__()
        self.front, self.qkv, self.out, self.head = nn.Linear(6, 8), nn.Linear(8, 24), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x):
        x = torch.relu(self.front(x))
        query, key, value = self.qkv(x).reshape(*x.shape[:2], 3, 2, 4).permute(2, 0, 3, 1, 4)
        mixed = (query @ key.transpose(-1, -2)).softmax(-1) @ value
        return self.head(self.out(mixed.transpose(1, 2).reshape(x.shape[0], x.shape[1], 8)).mean(1))


class Parameterized(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two, self.three = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.scale = nn.Parameter(torch.ones(8))

    def forward(self, x):
        return self.three(torch.relu(self.two(torch.relu(self.one(x) * self.scale))))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two, self.three = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.two.weight = self.one.weight

    def forward(self, x):
        return self.three(torch.relu(self.two(torch.relu(self.one(x)))))


def test_what_stays_has_a_reason_that_names_the_layer():
    encoder = nn.Sequential(nn.TransformerEncoderLayer(8, 2, 32, batch_first=True), nn.Linear(8, 3)).eval()
    pruned, edit = prune_channels(encoder, Prune(0.5), Given({"x": torch.randn(1, 5, 8)}))
    assert pruned[0].linear1.out_features == pruned[0].linear2.in_features == 16
    assert "0.self_attn (MultiheadAttention) mixes its channels" in edit.left["0.linear2"]
    assert "0.norm1 (LayerNorm) mixes its channels" in edit.left["0.linear2"]

    _, edit = prune_channels(Attention().eval(), Prune(0.5), Given({"x": torch.randn(SEQUENCE)}))
    assert {r.layer for r in edit.resized} == {"front", "qkv", "out", "head"}
    assert "the module fails without half of its channels" in edit.left["qkv"]

    _, edit = prune_channels(Parameterized().eval(), Prune(0.5), Given({"x": torch.randn(1, 6)}))
    assert {r.layer for r in edit.resized} == {"two", "three"}
    assert edit.left["one"] == "its channels meet a parameter outside of a layer"

    with pytest.raises(BadInput, match=r"no channel can be removed .*one: one, two share weights"):
        prune_channels(Tied().eval(), Prune(0.5), Given({"x": torch.randn(1, 6)}))


def test_a_module_that_cannot_be_traced_is_refused():
    class Broken(nn.Module):
        def forward(self, x):  # noqa: ARG002
            raise ValueError("no such thing")

    with pytest.raises(BadInput, match="prune: the module cannot be traced: ValueError: no such thing"):
        prune_channels(Broken(), Prune(0.5), Given({"x": torch.zeros(1, 2)}))
