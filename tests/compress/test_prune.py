import copy
import json

import pytest
import torch
from torch import nn

from edgewright.compress.passes import Given, passes
from edgewright.compress.prune import Prune, prune_channels
from edgewright.edits import Edit, replay
from edgewright.errors import BadInput, BadModel
from tests.models import NETWORKS, samples


def parameters(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name", list(NETWORKS))
def test_channels_go_for_real_the_input_stays_and_the_edit_replays(name):
    module, example = NETWORKS[name][0](), samples(name, 1)
    before = copy.deepcopy(module.state_dict())
    pruned, edit = prune_channels(module, Prune(0.5), Given({"input": example}))
    assert parameters(pruned) < 0.45 * parameters(module)
    assert pruned(example).shape == module(example).shape
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())

    rebuilt = NETWORKS[name][0]()
    replay(rebuilt, [Edit.from_json(json.loads(json.dumps(edit.to_json())))])
    rebuilt.load_state_dict(pruned.state_dict(), strict=True)
    assert torch.equal(rebuilt(example), pruned(example))


def test_the_weakest_filters_go_and_the_rest_is_untouched():
    module = nn.Sequential(nn.Conv1d(1, 4, 1, bias=False), nn.Conv1d(4, 2, 1, bias=False)).eval()
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor([5.0, 0.1, 4.0, 0.2]).reshape(4, 1, 1))
        module[1].weight.fill_(1.0)
    pruned, edit = prune_channels(module, Prune(0.5), Given({"x": torch.zeros(1, 1, 8)}))
    assert pruned[0].weight.flatten().tolist() == [5.0, 4.0]
    assert pruned[1].weight.shape == (2, 2, 1)
    assert {r.layer: r.sizes["out_channels"] for r in edit.resized} == {"0": 2, "1": 2}


def test_rounding_and_kept_layers():
    module, example = NETWORKS["watch_cnn"][0](), samples("watch_cnn", 1)
    pruned, _ = prune_channels(module, Prune(0.4, round_to=8), Given({"input": example}))
    assert all(conv.out_channels % 8 == 0 for conv in pruned.modules() if isinstance(conv, nn.Conv1d))
    kept, _ = prune_channels(module, Prune(0.5, keep=("0",)), Given({"input": example}))
    assert kept[0].out_channels == module[0].out_channels


def test_same_input_same_bytes():
    module, example = NETWORKS["resnet18"][0](), samples("resnet18", 1)
    one, two = (prune_channels(module, Prune(0.5), Given({"input": example}))[0].state_dict() for _ in range(2))
    assert all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"amount": 1.5}, "amount is 1.5, wanted a fraction between 0 and 1"),
        ({"most": 1}, "most is 1, wanted a fraction"),
        ({"criterion": "taylr"}, "criterion is 'taylr'; did you mean 'taylor'"),
        ({"scope": "all"}, "scope is 'all'; "),
        ({"target": "mac"}, "target is 'mac'; did you mean 'macs'"),
        (
            {"round_to": 0, "steps": 0, "samples": 0},
            "round_to is 0, .*; steps is 0, .*; samples is 0, wanted 1 or more",
        ),
    ],
)
def test_bad_settings(config, reason):
    with pytest.raises(BadInput, match=reason):
        Prune(**config)


def test_refusals_name_the_reason():
    module, example = NETWORKS["watch_cnn"][0](), samples("watch_cnn", 1)
    with pytest.raises(BadInput, match=r"keep names no layer\(s\) \['conv9'\]"):
        prune_channels(module, Prune(keep=("conv9",)), Given({"input": example}))
    with pytest.raises(BadInput, match="no channel can be removed"):
        prune_channels(nn.Linear(3, 2), Prune(), Given({"input": torch.zeros(1, 3)}))


def test_an_edit_that_does_not_fit_says_so():
    module, example = NETWORKS["watch_cnn"][0](), samples("watch_cnn", 1)
    _, edit = prune_channels(module, Prune(0.5), Given({"input": example}))
    with pytest.raises(BadModel, match="the factory's module has no layer"):
        replay(nn.Sequential(nn.Linear(2, 2)), [edit])
    with pytest.raises(BadModel, match="unreadable structural edit"):
        Edit.from_json({"name": "prune"})


def test_passes_are_found_by_walking():
    assert passes()["prune"].config is Prune
