import numpy as np
import pytest
import torch
from torch import nn

from edgewright.compress.dynamic.widths import slimmable
from edgewright.compress.passes import Given
from edgewright.compress.slim import Slim, slim, widths
from edgewright.compress.training import accuracy_of
from edgewright.data import Samples
from edgewright.edits import Edit, replay
from edgewright.errors import BadInput
from tests.models import NETWORKS, samples


@pytest.mark.parametrize("name", ["watch_cnn", "resnet18"])
def test_a_narrow_width_holds_the_first_channels_of_the_whole(name):
    module, example = NETWORKS[name][0](), samples(name, 1)
    made = widths(module, Slim(widths=(0.5, 0.25)), Given({"input": example}))
    for width, each in made.items():
        whole, narrow = module.get_submodule("0").weight, each.get_submodule("0").weight
        assert len(narrow) == len(whole) * width
        assert torch.equal(narrow, whole[: len(narrow)])
        assert each(example).shape == module(example).shape
    assert torch.equal(made[1.0](example), module(example))


class Joined(nn.Module):
    """A concatenation: the channels that stay are no prefix of what `last` reads."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.last = nn.Linear(3, 4), nn.Linear(3, 4), nn.Linear(8, 2)

    def forward(self, x):
        return self.last(torch.cat([self.a(x), self.b(x)], dim=1))


def test_a_concatenation_keeps_the_first_channels_of_each_part():
    torch.manual_seed(0)
    module, example = Joined().eval(), torch.randn(5, 3)
    narrow, edit = slim(module, Slim(0.5, widths=(0.5,)), Given({"x": example}))
    assert torch.equal(narrow.last.weight, module.last.weight[:, [0, 1, 4, 5]])
    fresh = Joined()
    replay(fresh, [Edit.from_json(edit.to_json())])
    fresh.load_state_dict(narrow.state_dict())
    assert torch.equal(fresh(example), narrow(example))


def test_the_store_answers_like_the_modules_it_gives_and_shares_its_weights():
    module, example = NETWORKS["watch_cnn"][0](), samples("watch_cnn", 1)
    store = slimmable(module, (0.75, 0.5), (example,), round_to=4, between=1).eval()
    for answer, width in zip(store(example), (1.0, 0.75, 0.5), strict=True):
        assert torch.equal(answer, store.module_of(width)(example))
    norms = sum(tensor.numel() for tensor in store.norms.parameters())
    whole = sum(tensor.numel() for tensor in module.parameters())
    assert sum(tensor.numel() for tensor in store.parameters()) == whole + norms
    assert all(conv.out_channels % 4 == 0 for conv in store.module_of(0.75).modules() if isinstance(conv, nn.Conv1d))


def halves(seed: int) -> Samples:
    x = np.random.default_rng(seed).normal(size=(256, 6)).astype(np.float32)
    return Samples({"x": x}, (x.sum(axis=1) > 0).astype(np.int64))


def test_one_training_teaches_all_widths_the_same_each_time():
    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2)).eval()
    given, config = Given({"x": torch.zeros(1, 6)}, halves(0), halves(1)), Slim(epochs=10, learning_rate=0.02)
    before = module[0].weight.clone()
    one, two = (widths(module, config, given) for _ in range(2))
    assert list(one) == [1.0, 0.75, 0.5, 0.25]
    assert min(accuracy_of(each, halves(2)) for each in one.values()) > 0.85
    for width, each in one.items():
        assert all(torch.equal(tensor, two[width].state_dict()[name]) for name, tensor in each.state_dict().items())
    assert torch.equal(one[0.25][0].weight, one[1.0][0].weight[:4])
    assert not torch.equal(one[0.25][1].running_mean, one[1.0][1].running_mean[:4])
    assert torch.equal(module[0].weight, before)


def test_refusals():
    with pytest.raises(BadInput, match=r"wanted one or more fractions.*width is 0\.5, wanted one of.*epochs is -1"):
        Slim(widths=(1.5,), epochs=-1)
    with pytest.raises(BadInput, match=r"no layer gets narrower at width\(s\) \[0\.5\]"):
        slim(nn.Linear(3, 2), Slim(widths=(0.5,)), Given({"x": torch.zeros(1, 3)}))
