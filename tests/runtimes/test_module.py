"""Torch modules on disk: factories, edits, preprocessing, trust."""

import json
import sys

import numpy as np
import pytest
import torch

from edgewright.errors import BadModel, NotTrusted
from edgewright.runtimes.artifact import artifact_at, digest_of
from edgewright.runtimes.module.factory import find, make
from edgewright.runtimes.module.folder import Loaded, describe, load_module, save_module
from edgewright.runtimes.module.preprocess import Preprocess
from edgewright.runtimes.module.preprocessed import Preprocessed
from edgewright.runtimes.runtime import pick, runtimes

NET = """
import torch
from torch import nn
from sizes import WIDTH

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, WIDTH)
    def forward(self, x):
        return self.layer(x)

def net():
    torch.manual_seed(3)
    return Net(), torch.zeros(1, 4)

def bare(): return Net()
def broken(): raise RuntimeError("no weights here")
def nothing(): return 7
def renamed(): return Net(), {"y": torch.zeros(1, 4)}
def misnamed(): return Net(), {"x": torch.zeros(1, 4), "y": torch.zeros(1, 4)}
def listed(): return Net(), {"x": [1, 2]}
"""


@pytest.fixture
def user(tmp_path):
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "sizes.py").write_text("WIDTH = 3\n")
    return tmp_path


def saved(user, name="net"):
    factory = find(f"{user}/net.py:{name}")
    product = make(factory)
    loaded = Loaded(
        product.module, describe(product.module, product.example_inputs), product.example_inputs, (), factory
    )
    save_module(user / "x.torch", loaded)
    return loaded


def test_round_trip_without_pickle(user):
    loaded = saved(user)
    assert sorted(path.name for path in (user / "x.torch").iterdir()) == ["artifact.json", "weights.safetensors"]
    again = load_module(user / "x.torch", trusted=True)
    example = torch.randn(2, 4)
    assert torch.equal(again.module(example), loaded.module(example))
    assert [(i.name, i.shape, i.dtype) for i in again.contract.inputs] == [("x", (1, 4), "float32")]
    assert [(i.name, i.shape) for i in again.contract.outputs] == [("output", (1, 3))]


def test_opening_runs_code_so_it_asks_for_trust(user):
    saved(user)
    with pytest.raises(NotTrusted, match="say --trust"):
        load_module(user / "x.torch", trusted=False)
    with pytest.raises(NotTrusted):
        runtimes()["torch"].load(artifact_at(user / "x.torch"))
    runtime, _ = pick(artifact_at(user / "x.torch").spec.format)
    session = runtime.load(artifact_at(user / "x.torch", trusted=True))
    assert session.run({"x": np.zeros((1, 4), np.float32)})["output"].shape == (1, 3)


def test_a_factory_that_changed_is_refused(user):
    saved(user)
    text = (user / "x.torch" / "artifact.json").read_text()
    (user / "x.torch" / "artifact.json").write_text(text.replace(json.loads(text)["factory_digest"], "0" * 64))
    with pytest.raises(BadModel, match="changed since this artifact was made"):
        load_module(user / "x.torch", trusted=True)


def test_the_digest_covers_the_files_that_the_factory_imports(user):
    def digest():
        sys.modules.pop(make(find(f"{user}/net.py:net")).module.__module__)
        return find(f"{user}/net.py:net").digest

    one = digest()
    assert one == digest() == find(f"{user}/net.py:bare").digest
    (user / "unrelated.py").write_text("x = 1\n")
    assert one == digest()
    (user / "sizes.py").write_text("WIDTH = 5\n")
    assert one != digest()


def test_the_digest_of_a_package_covers_its_own_modules(tmp_path, monkeypatch):
    package = tmp_path / "user_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "nets.py").write_text(
        "from . import sizes\nimport torch\ndef net(): return torch.nn.Linear(1, sizes.W)\n"
    )
    (package / "sizes.py").write_text("W = 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    one = find("user_package.nets:net").digest
    (package / "sizes.py").write_text("W = 3\n")
    assert find("user_package.nets:net").digest != one


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("broken", "raised RuntimeError: no weights here"),
        ("nothing", "gave int, wanted an nn.Module"),
        ("misnamed", r"y is no parameter of forward\(x\)"),
        ("listed", "x is no tensor"),
    ],
)
def test_bad_factories(user, name, reason):
    with pytest.raises(BadModel, match=reason):
        make(find(f"{user}/net.py:{name}"))


def test_the_user_may_name_the_inputs(user):
    loaded = saved(user, "renamed")
    assert [info.name for info in loaded.contract.inputs] == ["y"]


def test_bad_references(user):
    (user / "typo.py").write_text("def f(:\n")
    cases = {
        f"{user}/net.py:absent": "has no function 'absent'; it has",
        f"{user}/absent.py:net": "no such file",
        "no_such_module_here:net": "importing it raised ModuleNotFoundError",
        f"{user}/typo.py:f": "importing it raised SyntaxError",
        "net": "write package.module:function",
    }
    for reference, reason in cases.items():
        with pytest.raises(BadModel, match=reason):
            find(reference)


def test_nan_weights_are_named(user):
    factory = find(f"{user}/net.py:net")
    product = make(factory)
    with torch.no_grad():
        product.module.layer.bias[1] = float("nan")
    contract = describe(product.module, product.example_inputs)
    with pytest.raises(BadModel, match=r"NaN or infinity in layer\.bias"):
        save_module(user / "y.torch", Loaded(product.module, contract, product.example_inputs, (), factory))
    assert not (user / "y.torch").exists()


def test_a_module_that_fails_on_its_examples(user):
    product = make(find(f"{user}/net.py:net"))
    with pytest.raises(BadModel, match=r"failed on inputs of shape .*\(1, 5\)"):
        describe(product.module, {"x": torch.zeros(1, 5)})


def test_damaged_folders(user):
    saved(user)
    (user / "x.torch" / "weights.safetensors").write_bytes(b"garbage")
    with pytest.raises(BadModel, match="do not fit"):
        load_module(user / "x.torch", trusted=True)
    (user / "x.torch" / "artifact.json").write_text("{}")
    with pytest.raises(BadModel, match="not of version 1"):
        load_module(user / "x.torch", trusted=True)


def test_same_module_same_bytes(user):
    saved(user)
    (user / "x.torch").rename(user / "first.torch")
    saved(user)
    assert digest_of(user / "x.torch") == digest_of(user / "first.torch")


def test_preprocessing_takes_raw_bytes():
    inner = torch.nn.Identity()
    module = Preprocessed(inner, Preprocess(scale=1 / 255, mean=(0.5, 0.25), std=(0.5, 0.25), dtype="uint8"))
    raw = torch.tensor([0, 255], dtype=torch.uint8).reshape(1, 2, 1, 1)
    assert torch.allclose(module(raw).flatten(), torch.tensor([-1.0, 3.0]))


def test_preprocessing_outside_gives_the_numbers_that_it_gives_inside():
    preprocess = Preprocess(scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229,), dtype="uint8")
    raw = np.random.default_rng(0).integers(0, 256, (4, 3, 5, 6), dtype=np.uint8)
    inside = Preprocessed(torch.nn.Identity(), preprocess)(torch.from_numpy(raw)).numpy()
    outside = preprocess.applied(raw)
    assert outside.dtype == np.float32 and np.array_equal(outside, inside)


def test_a_program_runs_only_when_trusted(tmp_path):
    program = torch.export.export(torch.nn.Linear(4, 2).eval(), (torch.zeros(1, 4),))
    torch.export.save(program, tmp_path / "m.pt2")
    with pytest.raises(NotTrusted, match=r"\.pt2 file can run code"):
        load_module(tmp_path / "m.pt2", trusted=False)
    loaded = load_module(tmp_path / "m.pt2", trusted=True)
    session = runtimes()["torch"].load(artifact_at(tmp_path / "m.pt2", trusted=True))
    [name] = loaded.example_inputs
    example = np.ones((1, 4), np.float32)
    expected = loaded.module(torch.from_numpy(example)).detach().numpy()
    assert np.array_equal(session.run({name: example})["output"], expected)
    (tmp_path / "bad.pt2").write_bytes(b"PK garbage")
    with pytest.raises(BadModel, match=r"not a torch\.export program"):
        load_module(tmp_path / "bad.pt2", trusted=True)
