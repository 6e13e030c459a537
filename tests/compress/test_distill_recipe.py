"""Distillation as a pass of a recipe: whom it names, what it writes, and what is kept over a kill."""

import numpy as np
import pytest

import edgewright
from edgewright.compress import training
from edgewright.data import load_samples
from edgewright.errors import BadModel, BadRecipe, NotTrusted
from edgewright.export import origin
from edgewright.export.pipeline import Pipeline
from edgewright.export.store import Store
from edgewright.export.verification import Verifier
from edgewright.progress import Silent
from edgewright.recipe import read_recipe
from edgewright.runtimes.module.folder import load_module

NETWORKS = """
import torch
from torch import nn

def network(width, classes=3):
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * width, classes),
    )

def large(): return network(12), torch.zeros(1, 1, 8, 8)
def small(): return network(4)
def strange(): return network(4, classes=5)
"""
RECIPE = """
model = "nets.py:large"
data = "data.npz"
[preprocess]
dtype = "uint8"
scale = 0.00392156862745098
mean = [0.5]
std = [0.25]
[train]
epochs = 6
learning_rate = 0.02
[[compress]]
pass = "distill"
epochs = 6
learning_rate = 0.1
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 300)
    images = np.clip(generator.normal(0, 40, (300, 1, 8, 8)) + 60 * labels[:, None, None, None] + 60, 0, 255)
    split = np.repeat(["train", "validation", "test"], [200, 50, 50])
    np.savez(folder / "data.npz", input=images.astype(np.uint8), labels=labels, split=split)
    (folder / "nets.py").write_text(NETWORKS)
    return folder


def hops(project, lines, *, trusted=False, progress=None):
    """The hops up to the last pass of the recipe."""
    (project / "edgewright.toml").write_text(RECIPE + lines)
    recipe = read_recipe(project / "edgewright.toml")
    samples, progress = load_samples(recipe.data), progress or Silent()
    pipeline = Pipeline(Store(project / "store"), samples, Verifier(samples.part("test"), progress), progress)
    hop = origin.start_module(pipeline, recipe.model, samples, recipe.preprocess, name="untrained")
    hop = origin.train(pipeline, hop, samples, recipe.train, None)
    for each in recipe.compress:
        origin.compress(pipeline, hop, each.name, each.config, samples=samples, trusted=trusted)
    return pipeline.hops


def test_the_trained_module_teaches_another_factory_whose_module_it_becomes(project):
    untrained, trained, distilled = hops(project, 'student = "nets.py:small"')
    assert distilled.name == "trained+distill" and not distilled.from_store
    before, after = (load_module(hop.artifact.path, trusted=True) for hop in (trained, distilled))
    assert after.factory.reference.endswith("nets.py:small") and [edit.name for edit in after.edits] == ["distill"]
    assert after.contract == before.contract and after.preprocess == before.preprocess
    assert distilled.notes["parameters"] < distilled.notes["parameters_before"] / 2
    assert distilled.verdict.vs_original.accuracy > 0.8
    assert [hop.from_store for hop in hops(project, 'student = "nets.py:small"')] == [True] * 3
    assert list((project / "store" / "unfinished").iterdir()) == []
    assert untrained.notes["parameters"] == trained_parameters(before)


def trained_parameters(loaded):
    return sum(parameter.numel() for parameter in loaded.module.parameters())


def test_it_is_exported_like_any_other(project, tmp_path):
    (project / "edgewright.toml").write_text(RECIPE + 'student = "nets.py:small"')
    build = edgewright.build(
        recipe=project / "edgewright.toml", precision="float32", devices=["raspberry-pi-4"],
        out=tmp_path / "out", store=project / "store", bench=False,
    )  # fmt: skip
    made = {hop.name: hop.verdict for hop in build.hops}
    assert made["tflite:float32"].diverged is None and made["tflite:float32"].vs_parent.snr_db > 80
    assert made["tflite:float32"].vs_original.snr_db == pytest.approx(
        made["trained+distill"].vs_original.snr_db, abs=1e-2
    )


def test_teachers_are_factories_of_the_recipes_folder_and_artifacts_that_are_trusted(project):
    trained = hops(project, 'teacher = ["nets.py:large"]')[1].artifact.path
    named = f'teacher = ["nets.py:large", "{trained}"]'
    with pytest.raises(NotTrusted, match="say --trust"):
        hops(project, named)
    distilled = hops(project, named, trusted=True)[-1]
    assert not distilled.from_store and distilled.options["config"]["teacher"][0] == f"{project}/nets.py:large"
    loaded = load_module(distilled.artifact.path, trusted=True)
    assert loaded.factory.reference.endswith("nets.py:large")


def test_the_weights_of_a_teacher_are_part_of_the_key(project):
    file = project / "weights.npy"
    np.save(file, np.float32(1))
    (project / "teacher.py").write_text(
        f"import numpy as np\nfrom nets import network\n\ndef scaled():\n    net = network(6)\n"
        f"    net[-1].bias.data += float(np.load({str(file)!r}))\n    return net\n"
    )
    lines = 'teacher = ["teacher.py:scaled"]'
    assert [hops(project, lines)[-1].from_store for _ in range(2)] == [False, True]
    np.save(file, np.float32(2))
    assert not hops(project, lines)[-1].from_store


def test_refusals(project):
    with pytest.raises(BadModel, match=r"teacher 1 gives \[2, 5\], the student \[2, 3\]"):
        hops(project, 'teacher = ["nets.py:strange"]')
    with pytest.raises(BadModel, match="has no function 'nobody'"):
        hops(project, 'teacher = ["nets.py:nobody"]')
    with pytest.raises(BadRecipe, match="temperature is -1"):
        hops(project, "temperature = -1")


def test_a_killed_build_goes_on_where_it_was(project, monkeypatch):
    lines = 'teacher = ["original"]\nseed = 5'
    whole = hops(project, lines)[-1]
    evaluated = []

    def dies(module, samples):
        evaluated.append(len(samples))
        if len(evaluated) == 2:
            raise KeyboardInterrupt
        return real(module, samples)

    real = training.accuracy_of
    monkeypatch.setattr(training, "accuracy_of", dies)
    monkeypatch.setattr(Store, "find", find_all_but(whole.artifact.digest))
    with pytest.raises(KeyboardInterrupt):
        hops(project, lines)
    [left] = (project / "store" / "unfinished").iterdir()
    assert {each.name.partition("-")[0] for each in left.iterdir()} == {"lock", "answers", "distill"}
    resumed = hops(project, lines)[-1]
    assert len(evaluated) == 2 + 5  # the kill came in the second of six epochs
    assert not left.exists() and not resumed.from_store
    assert resumed.artifact.digest == whole.artifact.digest


def find_all_but(digest):
    """As if the store did not hold one artifact."""
    real = Store.find

    def find(self, key):
        entry = real(self, key)
        return None if entry is not None and entry.record.get("digest") == digest else entry

    return find
