import copy

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn

from edgewright.compress.passes import Given
from edgewright.compress.sparsify import Sparsify, sparsify
from edgewright.compress.training import Training
from edgewright.data import Samples
from edgewright.edits import Edit
from edgewright.errors import BadInput
from tests.models import NETWORKS, labelled, samples

EXAMPLE = {"input": samples("watch_cnn", 1)}


def network():
    return NETWORKS["watch_cnn"][0]()


def data(count=48):
    inputs, labels = labelled((6, 100), 7, count, seed=1)
    return Samples({"input": inputs.numpy()}, labels.numpy())


def trained(fit=None, **settings):
    more = {} if fit is None else {"fit": fit}
    return Given(EXAMPLE, data(), data(16), Training(**{"epochs": 2, "batch": 16, **settings}), **more)


def zeros(module):
    """The share of zeros of each weight with two axes or more."""
    return {n: float((p == 0).float().mean()) for n, p in module.named_parameters() if p.dim() > 1}


def test_the_smallest_weights_of_each_layer_become_zero_and_others_stay():
    module = network()
    before = copy.deepcopy(module.state_dict())
    sparse, edit = sparsify(module, Sparsify(0.75), Given(EXAMPLE))
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())
    for name, weight in sparse.named_parameters():
        was = before[name]
        if weight.dim() > 1:
            kept = weight != 0
            assert int(kept.sum()) == weight.numel() - round(0.75 * weight.numel())
            assert was[~kept].abs().max() <= was[kept].abs().min() and torch.equal(weight[kept], was[kept])
        else:
            assert torch.equal(weight, was)
    assert edit == Edit("sparsify", edit.settings) and edit.resized == ()


def test_globally_the_smallest_of_all_go():
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    with torch.no_grad():
        module[0].weight.fill_(0.1)
        module[1].weight.fill_(1.0)
        module[1].weight[0, 0] = 0.01
    sparse, _ = sparsify(module, Sparsify(17 / 32, scope="global"), Given({"x": torch.zeros(1, 4)}))
    assert zeros(sparse) == {"0.weight": 1.0, "1.weight": 1 / 16}


@pytest.mark.parametrize("layer", [nn.Linear(8, 3), nn.Conv2d(8, 3, 3), nn.ConvTranspose1d(8, 3, 3), nn.LSTM(8, 8)])
def test_a_pattern_keeps_the_largest_n_of_every_m_inputs(layer):
    sparse, _ = sparsify(nn.Sequential(layer), Sparsify(pattern=(2, 4)), Given(EXAMPLE))
    axis = 0 if isinstance(layer, nn.ConvTranspose1d) else 1
    for name, weight in sparse[0].named_parameters():
        if weight.dim() < 2:
            continue
        blocks, was = (each.detach().movedim(axis, -1).reshape(-1, 4) for each in (weight, layer.get_parameter(name)))
        assert torch.equal((blocks != 0).sum(1), torch.full((len(blocks),), 2))
        assert torch.equal(blocks.abs().sum(1), was.abs().topk(2).values.sum(1))


def test_what_takes_no_zeros_says_why():
    module = nn.Sequential(nn.Conv1d(6, 8, 1), nn.Conv1d(8, 8, 3, groups=8), nn.Conv1d(8, 4, 1), nn.Conv1d(4, 2, 1))
    sparse, edit = sparsify(module, Sparsify(pattern=(2, 4), keep=("2",), smallest=8), Given(EXAMPLE))
    assert zeros(sparse) == {"0.weight": 0, "1.weight": 0, "2.weight": 0, "3.weight": 0.5}
    assert edit.left == {
        "0.weight": "its 6 input channels (of each group) are no multiple of 4",
        "1.weight": "its 1 input channels (of each group) are no multiple of 4",
        "2.weight": "the recipe keeps it",
    }
    with pytest.raises(BadInput, match="no weight can become zero; weight: it has 4 elements, less than 9"):
        sparsify(nn.Linear(2, 2), Sparsify(smallest=9), Given(EXAMPLE))
    with pytest.raises(BadInput, match=r"keep names no layer\(s\) \['head'\]"):
        sparsify(network(), Sparsify(keep=("head",)), Given(EXAMPLE))


def test_fine_tuning_moves_the_weights_and_keeps_the_zeros():
    module = network()
    plain, _ = sparsify(module, Sparsify(0.8), Given(EXAMPLE))
    tuned, _ = sparsify(module, Sparsify(0.8), trained())
    again, _ = sparsify(module, Sparsify(0.8), trained())
    for (name, before), after in zip(plain.named_parameters(), tuned.parameters(), strict=True):
        if before.dim() > 1:
            assert torch.equal(before == 0, after == 0), name
            assert not torch.equal(before, after)
    assert all(torch.equal(a, b) for a, b in zip(tuned.state_dict().values(), again.state_dict().values(), strict=True))
    assert not tuned._forward_pre_hooks and not any(p._backward_hooks for p in tuned.parameters())


def test_zeros_are_kept_whatever_the_training_function_does():
    def noisy(module, train, validation, settings, progress):  # noqa: ARG001
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(0.1)
        module(torch.from_numpy(train.inputs["input"][:2]))
        assert zeros(module)["0.weight"] == 0.5  # what it measures is the sparse network
        with torch.no_grad():
            module[0].weight.add_(0.1)
        return 0.0

    sparse, _ = sparsify(network(), Sparsify(0.5), trained(noisy))
    assert zeros(sparse) == pytest.approx(dict.fromkeys(zeros(sparse), 0.5), abs=1e-3)
    assert all(not torch.signbit(p[p == 0]).any() for p in sparse.parameters())


def test_a_training_function_that_gives_a_weight_another_shape_is_refused():
    def reshaping(module, train, validation, settings, progress):  # noqa: ARG001
        module[0].weight = nn.Parameter(torch.zeros(3, 3, 3))
        return 0.0

    with pytest.raises(BadInput, match=r"the training function gave 0\.weight another shape"):
        sparsify(network(), Sparsify(0.5), trained(reshaping))


def test_gradual_pruning_follows_the_cubic_schedule():
    seen = []

    def fit(module, train, validation, settings, progress):  # noqa: ARG001
        seen.append(zeros(module)["4.weight"])
        return 0.0

    sparse, _ = sparsify(network(), Sparsify(0.8, steps=4), trained(fit))
    wanted = [0.8 * (1 - (1 - step / 4) ** 3) for step in (1, 2, 3, 4)]
    assert seen == pytest.approx(wanted, abs=1e-3) and zeros(sparse)["4.weight"] == pytest.approx(0.8, abs=1e-3)
    with pytest.raises(BadInput, match="4 steps need fine-tuning after each"):
        sparsify(network(), Sparsify(steps=4), Given(EXAMPLE))


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"amount": 0}, "amount is 0, wanted a fraction"),
        ({"scope": "globl"}, "scope is 'globl'; did you mean 'global'"),
        ({"pattern": (4, 2)}, r"pattern is \[4, 2\], wanted \[n, m\] with 0 < n < m"),
        ({"pattern": (2, 4), "steps": 2}, "a pattern is made in one step"),
        ({"steps": 0, "smallest": -1}, "steps is 0, wanted 1 or more; smallest is -1"),
    ],
)
def test_bad_settings(config, reason):
    with pytest.raises(BadInput, match=reason):
        Sparsify(**config)


def test_zeros_are_in_the_exported_file_and_pay_in_sparse_core_ml(tmp_path):
    from edgewright.devices.spec import Precision, Spec
    from edgewright.export.capture import capture_module
    from edgewright.export.onnx.simplify import simplify
    from edgewright.export.planner import plan
    from edgewright.export.steps import Job
    from edgewright.runtimes.artifact import artifact_at

    sizes = {}
    for name, module in (("dense", network()), ("sparse", sparsify(network(), Sparsify(0.8), Given(EXAMPLE))[0])):
        model, _ = simplify(capture_module(module, EXAMPLE, ["output"]))
        path = tmp_path / f"{name}.onnx"
        ir.save(model, path)
        sizes[name] = path.stat().st_size
        weights = [v.const_value.numpy() for v in model.graph.initializers.values() if v.const_value.size > 500]
        if name == "sparse":
            assert [float(np.mean(w == 0)) for w in weights if w.ndim > 2] == pytest.approx([0.8, 0.8], abs=1e-3)
    assert abs(sizes["sparse"] - sizes["dense"]) < 64  # zeros are stored like any other number

    spec = Spec.parse("coreml:sparse")
    (step,) = [each for each in plan(Spec.parse("onnx:float32"), [spec]).steps if each.target == spec]
    package = tmp_path / "sparse.mlpackage"
    step.function(artifact_at(tmp_path / "sparse.onnx", Precision.FLOAT32), package, Job(), step.options())
    stored = next(package.rglob("weight.bin")).stat().st_size
    assert stored < 0.5 * 2 * sum(p.numel() for p in network().parameters())  # a plain float16 file takes 2 bytes each
