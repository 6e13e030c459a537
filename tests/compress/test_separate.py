import copy
import json

import numpy as np
import onnx_ir
import onnxruntime
import pytest
import torch
from torch import nn

from edgewright.compress.passes import Given
from edgewright.compress.separate import Separate, separate
from edgewright.data import Samples
from edgewright.edits import Edit, replay
from edgewright.errors import BadInput
from edgewright.export.capture import capture_module
from edgewright.export.onnx.simplify import simplify
from tests.models import NETWORKS, samples


def seeded(make, shape, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make().eval(), torch.randn(shape)


def separable_conv(layer, kernels):
    """Gives a full convolution weights that `kernels` depthwise kernels a channel can express."""
    outputs, inputs, *window = layer.weight.shape
    with torch.no_grad():
        depthwise, mixed = torch.randn(kernels, inputs, *window), torch.randn(kernels, outputs, inputs)
        layer.weight.copy_(torch.einsum("koi,ki...->oi...", mixed, depthwise))
    return layer


@pytest.mark.parametrize("kernels", [1, 2])
@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: nn.Conv2d(6, 24, (3, 5), stride=(2, 1), padding=(1, 2), dilation=(1, 2)), (2, 6, 13, 14)),
        (lambda: nn.Conv2d(6, 24, 5, padding="same", bias=False), (2, 6, 9, 9)),
        (lambda: nn.Conv1d(6, 24, 5, stride=2, padding=3), (2, 6, 30)),
        (lambda: nn.Conv3d(4, 16, 3, padding=1), (1, 4, 6, 6, 6)),
    ],
)
def test_what_is_separable_loses_nothing(make, shape, kernels):
    module, x = seeded(lambda: nn.Sequential(separable_conv(make(), kernels)), shape)
    smaller, edit = separate(module, Separate(kernels), Given({"x": x}))
    depthwise, mixing = smaller[0]
    assert (depthwise.groups, depthwise.out_channels) == (module[0].in_channels, module[0].in_channels * kernels)
    assert (mixing.bias is None) == (module[0].bias is None)
    truth = module(x).detach()
    assert torch.allclose(smaller(x), truth, atol=1e-5 * float(truth.abs().max()))
    assert edit.replaced[0].parts[0].kind == type(module[0]).__name__


def loss(module, other, x):
    return float((module(x) - other(x)).detach().square().mean())


def test_svd_loses_the_smaller_singular_values():
    module, x = seeded(lambda: nn.Sequential(nn.Conv2d(8, 16, 3, bias=False)), (1, 8, 10, 10))
    smaller, _ = separate(module, Separate(2), Given({"x": x}))
    kernels, mixing = (layer.weight.detach().numpy() for layer in smaller[0])
    product = np.einsum("oid,idhw->oihw", mixing.reshape(16, 8, 2), kernels.reshape(8, 2, 3, 3))
    weight = module[0].weight.detach().numpy()
    values = np.linalg.svd(weight.transpose(1, 0, 2, 3).reshape(8, 16, 9), compute_uv=False)
    assert np.square(product - weight).sum() == pytest.approx(np.square(values[:, 2:]).sum(), rel=1e-5)


def test_svd_starts_nearer_than_random_and_least_squares_nearer_still_on_unseen_inputs():
    def make():
        layer = separable_conv(nn.Conv2d(8, 16, 3, padding=1), 1)
        layer.weight.data += 0.5 * torch.randn(layer.weight.shape)
        return nn.Sequential(layer)

    module, x = seeded(make, (64, 8, 10, 10))
    x = nn.functional.avg_pool2d(x, 3, 1, 1)  # neighbours agree, as in images
    given = Given({"x": x[:1]}, Samples({"x": x[:32].numpy()}))
    configs = (Separate(init="random"), Separate(weighting="none"), Separate())
    random, svd, fitted = (loss(module, separate(module, config, given)[0], x[32:]) for config in configs)
    assert svd < 0.3 * random
    assert fitted < 0.9 * svd


def test_later_layers_are_fitted_to_what_earlier_ones_now_give():
    def make():
        return nn.Sequential(nn.Conv2d(6, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 12, 3, padding=1))

    module, x = seeded(make, (64, 6, 8, 8))
    train = Samples({"x": x[:48].numpy()})
    fitted, _ = separate(module, Separate(), Given({"x": x[:1]}, train))
    apart = copy.deepcopy(module)
    apart[2] = separate(
        apart[2:], Separate(), Given({"x": module[:2](x[:1])}, Samples({"x": module[:2](x[:48]).detach().numpy()}))
    )[0][0]
    apart[0] = fitted[0]
    assert loss(module, fitted, x[48:]) < loss(module, apart, x[48:])


@pytest.mark.parametrize("name", ["watch_cnn", "resnet18"])
def test_the_saving_is_in_the_file_and_the_edit_replays(name, tmp_path):
    module, example = NETWORKS[name][0](), samples(name, 2)
    before = copy.deepcopy(module.state_dict())
    train = Samples({"input": samples(name, 8).numpy()})
    smaller, edit = separate(module, Separate(), Given({"input": example}, train))
    again, _ = separate(module, Separate(), Given({"input": example}, train))
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())
    assert all(torch.equal(again.state_dict()[key], value) for key, value in smaller.state_dict().items())

    rebuilt = NETWORKS[name][0]()
    replay(rebuilt, [Edit.from_json(json.loads(json.dumps(edit.to_json())))])
    rebuilt.load_state_dict(smaller.state_dict(), strict=True)
    files = []
    for index, each in enumerate((module, rebuilt)):
        model, _ = simplify(capture_module(each, {"input": example}))
        files.append(tmp_path / f"{index}.onnx")
        onnx_ir.save(model, files[-1])
    assert files[1].stat().st_size < 0.5 * files[0].stat().st_size
    answer = onnxruntime.InferenceSession(files[1]).run(None, {"input": example.numpy()})[0]
    assert torch.allclose(torch.from_numpy(answer), smaller(example), atol=1e-4)


def test_random_weights_follow_the_seed_alone():
    module, example = NETWORKS["watch_cnn"][0](), samples("watch_cnn", 1)
    made = []
    for seed, outside in ((1, 0), (1, 7), (2, 0)):
        torch.manual_seed(outside)
        made.append(separate(module, Separate(init="random", seed=seed), Given({"input": example}))[0][0][0].weight)
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


def test_layers_that_stay_are_listed_with_the_reason():
    def make():
        return nn.Sequential(
            nn.Conv2d(4, 16, 3),
            nn.Conv2d(16, 16, 3, groups=4),
            nn.Conv2d(16, 16, 1),
            nn.Conv2d(16, 2, 2, padding_mode="reflect", padding=1),
            nn.Conv2d(2, 1, 2),
            nn.Conv2d(1, 5, 3, padding=1),
            nn.Flatten(),
            nn.Linear(125, 3),
        )

    module, x = seeded(make, (1, 4, 9, 9))
    smaller, edit = separate(module, Separate(), Given({"x": x}))
    assert smaller(x).shape == (1, 3)
    assert [replacement.layer for replacement in edit.replaced] == ["0"]
    assert edit.left == {
        "1": "it has 4 groups",
        "2": "a 1×1 convolution has no window to separate",
        "3": "its padding is 'reflect', only zeros can move to another layer",
        "4": "separating it saves no parameters or no MACs",
        "5": "1 depthwise kernel(s) are too few for 5 outputs: raise multiplier",
        "7": "a Linear is not replaced",
    }


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"multiplier": 0}, "multiplier is 0, wanted 1 or more"),
        ({"init": "zeros"}, "init is 'zeros', wanted one of svd, random"),
        ({"init": "random", "weighting": "inputs"}, 'weighting "inputs" goes with init "svd"'),
    ],
)
def test_bad_settings(config, reason):
    with pytest.raises(BadInput, match=reason):
        Separate(**config)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"multiplier": 6}, "0: multiplier 6 is out of range, wanted 1…5"),
        ({"keep": ("conv9",)}, r"keep names no layer\(s\) \['conv9'\]"),
        ({"weighting": "inputs"}, 'weighting = "inputs" needs samples'),
    ],
)
def test_refusals_name_the_reason(config, reason):
    module, example = NETWORKS["watch_cnn"][0](), samples("watch_cnn", 1)
    with pytest.raises(BadInput, match=reason):
        separate(module, Separate(**config), Given({"input": example}))
