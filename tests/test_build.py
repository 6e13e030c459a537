"""The whole road on a small network: build, the second build, the bundle, and what may go wrong."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import edgewright
from edgewright.errors import BadInput, BadModel, Diverged, NoPath, NotTrusted
from edgewright.runtimes.artifact import digest_of

HERE = Path(__file__).parent
DEVICES = ["apple-watch-s9", "wear-os-w5", "raspberry-pi-4", "nrf5340"]
NINE = {f"{f}:{p}" for f in ("onnx", "tflite", "coreml") for p in ("float32", "float16", "int8")}
ELEVEN = NINE | {"tflm:float32", "tflm:int8"}
RECIPE = """
model = "user_net.py:net"
data = "data.npz"
devices = ["apple-watch-s9", "wear-os-w5", "raspberry-pi-4", "nrf5340"]
[preprocess]
dtype = "uint8"
scale = 0.00392156862745098
mean = [0.5]
std = [0.25]
[train]
epochs = 4
batch = 32
learning_rate = 0.02
[[compress]]
pass = "prune"
amount = 0.5
finetune = { epochs = 2, batch = 32, learning_rate = 0.01 }
[budget]
accuracy_drop = 0.1
"""


def stripes(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of rows, columns or a checkerboard, with noise: three classes."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:12, :12]
    patterns = np.stack([y % 2, x % 2, (x // 2 + y // 2) % 2])
    labels = generator.integers(0, 3, count)
    noise = generator.normal(0, 40, (count, 12, 12))
    return np.clip(patterns[labels] * 160 + 40 + noise, 0, 255).astype(np.uint8)[:, None], labels


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    shutil.copy(HERE / "user_net.py", folder)
    images, labels = stripes(700)
    split = np.repeat(["train", "validation", "test"], [400, 100, 200])
    np.savez(folder / "data.npz", image=images, labels=labels, split=split)
    np.savez(folder / "floats.npz", image=images.astype(np.float32) / 255, labels=labels, split=split)
    (folder / "edgewright.toml").write_text(RECIPE)
    return folder


@pytest.fixture(scope="module")
def built(project):
    return edgewright.build(recipe=project / "edgewright.toml", out=project / "out", store=project / "store")


def test_all_eleven_artifacts_are_made_and_judged(built):
    assert {hop.name for hop in built.hops} == ELEVEN | {"untrained", "trained", "trained+prune"}
    assert built.failures == () and built.plan.blocked == {}
    for hop in built.hops:
        verdict = hop.verdict
        if hop.name in ELEVEN:
            assert verdict.unverified is None and verdict.diverged is None
            assert ("not the Neural Engine" in (verdict.caution or "")) == hop.name.startswith("coreml")
            assert verdict.vs_original.samples == 200 and verdict.vs_original.accuracy > 0.9
            assert verdict.vs_parent.snr_db > (15 if "int8" in hop.name else 40)
    assert set(built.best) == set(DEVICES) and all(built.best.values())


def test_int8_is_lowered_from_the_one_truth(built):
    parents = {hop.name: hop.parent for hop in built.hops}
    assert parents["tflite:int8"] == parents["coreml:int8"] == "onnx:int8"
    assert parents["onnx:int8"] == "onnx:float32" and parents["onnx:float32"] == "trained+prune"
    truth = next(hop for hop in built.hops if hop.name == "tflite:int8")
    assert truth.verdict.vs_parent.snr_db > 40


def test_channels_are_gone_from_the_files(built):
    sizes = {hop.name: hop.artifact.size_bytes for hop in built.hops}
    assert sizes["trained+prune"] < 0.7 * sizes["trained"]
    table = edgewright.inspect(built.out / "float32.tflite")
    assert [op.op_type for op in table.ops if op.kind == "conv"] == ["CONV_2D", "CONV_2D"]
    assert table.tensors[table.ops[-1].inputs[1]].shape == (3, 8)


def test_bytes_enter_the_int8_file_without_a_float_in_between(built):
    table = edgewright.inspect(built.out / "int8.tflite")
    assert table.ops[0].op_type == "QUANTIZE" and table.tensors[table.ops[0].inputs[0]].dtype == "uint8"
    assert [op.op_type for op in table.ops if op.compute_dtype == "float32"] == ["DEQUANTIZE"]
    assert edgewright.load(built.out / "int8.tflite", runtime="tflite-micro").contract.inputs[0].dtype == "uint8"


def test_files_take_raw_bytes_alike(built, project):
    images, labels = stripes(700)
    np.savez(project / "raw.npz", image=images[-40:])
    answers = {}
    for name in ("float32.onnx", "float32.tflite", "int8.tflite", "int8.onnx"):
        session = edgewright.load(built.out / name)
        assert session.contract.inputs[0].dtype == "uint8", name
        answers[name] = edgewright.run(built.out / name, str(project / "raw.npz"))["output"].argmax(1)
    assert all(np.mean(answer == labels[-40:]) > 0.85 for answer in answers.values())
    assert np.array_equal(answers["float32.onnx"], answers["float32.tflite"])


def test_the_second_build_comes_from_the_store_with_equal_bytes(built, project):
    again = edgewright.build(recipe=project / "edgewright.toml", out=project / "again", store=project / "store")
    assert all(hop.from_store for hop in again.hops)
    assert again.timings == built.timings
    for hop in built.hops:
        name = next(row["file"] for row in manifest(project / "out")["artifacts"] if row["name"] == hop.name)
        assert digest_of(project / "out" / name) == digest_of(project / "again" / name) == hop.artifact.digest


def test_a_build_from_nothing_gives_the_same_bytes(built, project, tmp_path):
    fresh = edgewright.build(
        recipe=project / "edgewright.toml", out=tmp_path / "out", store=tmp_path / "s", bench=False
    )
    assert not any(hop.from_store for hop in fresh.hops)
    assert [hop.artifact.digest for hop in fresh.hops] == [hop.artifact.digest for hop in built.hops]
    assert set(fresh.timings.values()) == {"not asked for"}


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text())


def test_the_manifest_says_all(built, project):
    text = manifest(project / "out")
    rows = {row["name"]: row for row in text["artifacts"]}
    assert set(rows) == {hop.name for hop in built.hops} and text["failures"] == [] and text["seed"] == 0
    for name, row in rows.items():
        assert (project / "out" / row["file"]).exists(), name
        assert len(row["digest"]) == 64 and row["size_bytes"] > 0 and row["seconds"] >= 0
    assert rows["tflite:int8"]["measurement"]["origin"] == "measured"
    low, high = rows["tflite:int8"]["measurement"]["interval_ms"]
    assert 0 < low <= rows["tflite:int8"]["measurement"]["median_ms"] <= high
    assert "macOS" in rows["coreml:int8"]["measurement"]
    assert rows["onnx:int8"]["tools"]["onnxruntime"]
    assert {fit["device"] for fit in text["fits"]} == set(DEVICES)
    latency = [line for fit in text["fits"] for line in fit["lines"] if line["resource"] == "latency"]
    assert latency and all("not modelled yet" in line["reason"] for line in latency)
    assert "<table" in (project / "out" / "report.html").read_text()


def test_a_budget_that_nothing_meets_is_a_failure_with_the_reason(project):
    recipe = project / "tight.toml"
    recipe.write_text(RECIPE.replace("accuracy_drop = 0.1", "size_bytes = 100"))
    built = edgewright.build(recipe=recipe, out=project / "tight", store=project / "store", bench=False)
    assert len(built.failures) == 4
    assert built.failures[3].startswith("nothing fits nrf5340: ")
    assert "of 100 B (your budget)" in built.failures[3]
    assert built.best["nrf5340"] is None


def test_an_output_folder_of_something_else_is_left_alone(project):
    (project / "mine").mkdir(exist_ok=True)
    (project / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(BadInput, match="is no edgewright build"):
        edgewright.build(recipe=project / "edgewright.toml", out=project / "mine", store=project / "store", bench=False)
    assert (project / "mine" / "thesis.txt").read_text() == "years of work"


def test_without_data_floats_are_verified_on_probes_and_int8_is_refused(project, tmp_path):
    model = f"{project}/user_net.py:net"
    done = edgewright.convert(model, tmp_path / "m.tflite", store=project / "store")
    assert done.hop.verdict.vs_parent.synthetic and done.hop.verdict.vs_parent.snr_db > 80
    with pytest.raises(NoPath, match="needs samples to calibrate: give --data"):
        edgewright.convert(model, tmp_path / "q.tflite", precision="int8", store=project / "store")
    assert not (tmp_path / "q.tflite").exists()


def test_the_data_tell_the_shapes_when_the_factory_does_not(project, tmp_path):
    model, data = f"{project}/user_net.py:net_without_example", str(project / "floats.npz")
    done = edgewright.convert(model, tmp_path / "m.onnx", data=data, store=project / "store")
    assert edgewright.inspect(done.out).contract.inputs[0].shape == (1, 1, 12, 12)
    with pytest.raises(BadModel, match="gave no example inputs"):
        edgewright.convert(model, tmp_path / "m.onnx", store=project / "store")


@pytest.mark.parametrize(("name", "precision"), [("a.tflite", "float16"), ("b.mlpackage", "int8"), ("c.onnx", "int8")])
def test_one_file_to_another(built, project, tmp_path, name, precision):
    done = edgewright.convert(
        str(built.out / "float32.onnx"), tmp_path / name, precision=precision, data=str(project / "data.npz"),
        store=project / "store",
    )  # fmt: skip
    assert edgewright.inspect(tmp_path / name).precision == precision
    assert done.hops[0].step == "start" and done.hops[1].step == "import"


def test_the_truth_itself_can_be_lowered_later(built, project, tmp_path):
    done = edgewright.convert(
        str(built.out / "int8.onnx"), tmp_path / "q.tflite", precision="int8", data=str(project / "data.npz"),
        store=project / "store",
    )  # fmt: skip
    assert [hop.step for hop in done.hops] == ["start", "tflite-int8"]
    assert digest_of(tmp_path / "q.tflite") == digest_of(built.out / "int8.tflite")


def test_channels_last_input_has_no_transpose(built, project, tmp_path):
    source = str(built.out / "float32.onnx")
    edgewright.convert(source, tmp_path / "nhwc.tflite", layout="nhwc", store=project / "store")
    table = edgewright.inspect(tmp_path / "nhwc.tflite")
    assert table.transposes == 0
    assert table.contract.inputs[0].shape == (1, 1, 12, 12)
    with pytest.raises(BadInput, match=r"layout nhwc is for \.tflite"):
        edgewright.convert(source, tmp_path / "x.onnx", layout="nhwc", store=project / "store")


def test_verify_two_files(built, project):
    found = edgewright.verify(built.out / "float32.onnx", built.out / "float16.tflite", str(project / "data.npz"))
    assert found.missed == () and found.fidelity.samples == 200
    worse = edgewright.verify(
        built.out / "trained.torch", built.out / "int8.onnx", str(project / "data.npz"), trust=True
    )
    assert worse.fidelity.snr_db < 15 and "SNR" in worse.missed[0]
    with pytest.raises(NotTrusted):
        edgewright.verify(built.out / "trained.torch", built.out / "int8.onnx", str(project / "data.npz"))


def test_a_hop_that_diverges_names_the_tensor_and_writes_nothing(built, tmp_path, monkeypatch):
    from edgewright.export import steps as registry
    from edgewright.export.steps import Step

    honest = next(step for step in registry.steps() if step.name == "float16")

    def sabotage(source, out, job, options):
        import onnx
        from onnx import numpy_helper

        notes = honest.function(source, out, job, options)
        model = onnx.load(out)
        weight = next(t for t in model.graph.initializer if len(t.dims) == 4 and t.dims[1] > 1)
        weight.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(weight), weight.name))
        onnx.save(model, out)
        return notes

    fields = {name: getattr(honest, name) for name in Step.__dataclass_fields__}
    broken = Step(**(fields | {"function": sabotage}))
    known = tuple(broken if step is honest else step for step in registry.steps())
    monkeypatch.setattr("edgewright.export.planner.steps", lambda: known)
    with pytest.raises(Diverged, match=r"onnx:float16 against onnx:float32: SNR .*first bad tensor '") as caught:
        edgewright.convert(
            str(built.out / "float32.onnx"), tmp_path / "h.onnx", precision="float16", store=tmp_path / "s"
        )
    assert caught.value.exit_code == 1
    assert not (tmp_path / "h.onnx").exists()


TRAINER = '''
import os, signal
from pathlib import Path

def train(module, train, validation, settings, progress):
    """Dies in its first run, as on a machine that was switched off."""
    mark = Path(__file__).with_name("ran")
    if not mark.exists():
        mark.write_text("")
        os.kill(os.getpid(), signal.SIGKILL)
    assert 300 < len(train) < 400 and len(validation) == 100 and settings.epochs == 1
    return 0.5
'''


def test_a_killed_build_leaves_nothing_half_made_and_the_next_one_goes_on(project):
    (project / "trainer.py").write_text(TRAINER)
    recipe = project / "killed.toml"
    text = RECIPE.replace("epochs = 4", 'epochs = 1\nfunction = "trainer.py:train"').split("[[compress]]")[0]
    recipe.write_text(text.replace('"apple-watch-s9", "wear-os-w5", "raspberry-pi-4", "nrf5340"', '"wear-os-w5"'))
    store, out = project / "killed-store", project / "killed-out"
    command = [sys.executable, "-m", "edgewright", "build", "--recipe", recipe, "--out", out, "--store", store]
    assert subprocess.run([*command, "--no-bench"], check=False, capture_output=True).returncode == -signal.SIGKILL
    assert not out.exists() and len(list(store.glob(".making-*"))) == 1
    built = edgewright.build(recipe=recipe, out=out, store=store, bench=False)
    assert {hop.name: hop.from_store for hop in built.hops}["untrained"]
    assert next(hop for hop in built.hops if hop.name == "trained").notes["validation_accuracy"] == 0.5
    assert list(store.glob(".making-*")) == [] and (out / "int8.tflite").exists()


def test_an_onnx_file_behind_preprocessing(project):
    """The float ONNX file of a module without preprocessing, built again from a recipe that adds it."""
    edgewright.convert(f"{project}/user_net.py:net", project / "plain.onnx", store=project / "store")
    recipe = project / "onnx.toml"
    head = RECIPE.split("[train]")[0].replace("user_net.py:net", "plain.onnx")
    recipe.write_text(head.replace('devices = ["apple-watch-s9", ', "devices = ["))
    again = edgewright.build(recipe=recipe, out=project / "onnx-out", store=project / "store", bench=False)
    assert [hop.step for hop in again.hops[:2]] == ["start", "import"]
    assert all(hop.verdict.diverged is None for hop in again.hops)
    assert edgewright.inspect(project / "onnx-out" / "int8.tflite").contract.inputs[0].dtype == "uint8"


def test_a_folder_of_images_is_data(project, tmp_path):
    from PIL import Image

    images, labels = stripes(60)
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        (tmp_path / "photos" / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0]).save(tmp_path / "photos" / str(label) / f"{index}.png")
    done = edgewright.convert(
        f"{project}/user_net.py:net", tmp_path / "m.tflite", precision="int8", data=str(tmp_path / "photos"),
        store=project / "store",
    )  # fmt: skip
    assert 8 <= done.hop.verdict.vs_original.samples <= 24  # a quarter by hash
    assert done.hop.verdict.vs_original.accuracy is not None


def test_what_a_recipe_cannot_ask_for(project, tmp_path):
    recipe = tmp_path / "edgewright.toml"
    recipe.write_text('model = "net.onnx"\ndevices = ["nrf5340"]\n[train]\nepochs = 1\n')
    with pytest.raises(BadInput, match=r"change a torch module: name its factory .*; training and fine"):
        edgewright.build(recipe=recipe, out=tmp_path / "out", store=project / "store")


STATES = '''
import torch
from torch import nn

class Cell(nn.Module):
    """A step of a filter: a frame, a state of another length, and a scalar gain."""
    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(4, 4)
    def forward(self, frame, state, gain):
        return {"y": self.mix(frame) * gain, "next": state * 0.5 + frame.sum()}

def cell():
    return Cell(), {"frame": torch.zeros(1, 4), "state": torch.zeros(3, 2), "gain": torch.tensor(1.0)}
'''


@pytest.mark.parametrize(("name", "precision"), [("m.onnx", "float16"), ("m.tflite", "float32"), ("m.tflite", "int8")])
def test_inputs_that_share_no_batch_are_fed_whole(project, tmp_path, name, precision):
    (tmp_path / "cell.py").write_text(STATES)
    generator = np.random.default_rng(0)
    frames, states = (generator.standard_normal((64, *shape)).astype(np.float32) for shape in ((1, 4), (3, 2)))
    np.savez(tmp_path / "d.npz", frame=frames, state=states, gain=np.linspace(0.5, 2, 64, dtype=np.float32))
    words = {"data": str(tmp_path / "d.npz")} if precision == "int8" else {}
    done = edgewright.convert(
        f"{tmp_path}/cell.py:cell", tmp_path / name, precision=precision, store=project / "store", **words
    )
    assert done.hop.verdict.vs_original.snr_db > (20 if precision == "int8" else 40)
    answers = edgewright.run(tmp_path / name, str(tmp_path / "d.npz"))
    assert answers["y"].shape == (64, 1, 4) and answers["next"].shape == (64, 3, 2)
    expected = states * 0.5 + frames.sum((1, 2))[:, None, None]
    assert np.abs(answers["next"] - expected).mean() < (0.03 if precision == "int8" else 0.003)
