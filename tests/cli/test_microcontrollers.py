"""From the command line to a microcontroller: a .tflite file, its C++, its arena, its labels."""

import json
from pathlib import Path

import numpy as np
import onnx.parser
import pytest

import edgewright
from edgewright.errors import BadInput, BadRecipe
from edgewright.recipe import read_recipe
from edgewright.runtimes.micro import arena_bytes
from edgewright.runtimes.read import read

NAMES = ["rest", "walk", "run", "jump", "wave", "clap", "turn"]


@pytest.fixture(scope="module")
def place(clean_models, probes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("microcontrollers")
    (folder / "net.onnx").write_bytes(clean_models["watch_cnn"].read_bytes())
    rows = np.tile(probes["watch_cnn"], (8, 1, 1))
    np.savez(folder / "data.npz", input=rows + np.random.default_rng(0).normal(0, 0.1, rows.shape).astype(np.float32))
    (folder / "labels.txt").write_text("\n".join(NAMES))
    return folder


def test_a_model_becomes_a_c_array(call, place, tmp_path):
    int8 = ("--precision", "int8", "--data", place / "data.npz", "--store", place / "store")
    code, out, _ = call("convert", place / "net.onnx", tmp_path / "net.cc", *int8, "--labels", place / "labels.txt")
    assert code == 0 and "tflm:int8" in out and "arena in tflite-micro" in out
    header = (tmp_path / "net.h").read_text()
    assert '"walk",' in header and "input_0_scale" in header and "alignas(16)" in (tmp_path / "net.cc").read_text()

    code, out, _ = call("convert", place / "net.onnx", tmp_path / "net.tflite", *int8, "--micro", "--json")
    document = json.loads(out)
    assert code == 0 and document["steps"][-1] == "tflm-int8"
    assert document["notes"]["arena_bytes"] == arena_bytes(tmp_path / "net.tflite")
    assert read(tmp_path / "net.tflite").contract.inputs[0].file_dtype == "int8"

    code, out, _ = call("convert", tmp_path / "net.tflite", tmp_path / "again.h", "--json")
    assert code == 0 and json.loads(out)["source"] == str(tmp_path / "again.cc")
    bodies = [(tmp_path / name).read_text().partition("{")[2] for name in ("net.cc", "again.cc")]
    assert bodies[0] == bodies[1]

    code, out, _ = call("inspect", tmp_path / "net.tflite", "--arena")
    assert code == 0 and f"arena in tflite-micro: {arena_bytes(tmp_path / 'net.tflite'):,} bytes" in out
    code, out, _ = call("inspect", tmp_path / "net.tflite", "--arena", "--json")
    assert json.loads(out)["arena_bytes"] == arena_bytes(tmp_path / "net.tflite")
    code, _, err = call("inspect", place / "net.onnx", "--arena")
    assert code == 2 and "only a .tflite file runs in tflite-micro" in err


def test_labels_go_into_a_file_and_out_of_it(call, place, tmp_path):
    to = tmp_path / "named.tflite"
    words = ("convert", place / "net.onnx", to, "--labels", place / "labels.txt", "--store", place / "store")
    assert call(*words)[0] == 0
    code, out, _ = call("inspect", to)
    assert code == 0 and "labels: 7 in labels.txt: rest, walk, run, jump, wave, …" in out


def test_choices_that_do_not_go_together(place, tmp_path):
    source, labels = str(place / "net.onnx"), place / "labels.txt"
    with pytest.raises(BadInput, match=r"micro is for \.tflite files and C arrays, not for \.onnx"):
        edgewright.convert(source, tmp_path / "x.onnx", micro=True)
    with pytest.raises(BadInput, match=r"labels go into \.tflite and \.mlpackage files and C arrays, not into onnx"):
        edgewright.convert(source, tmp_path / "x.onnx", labels=labels)
    with pytest.raises(BadInput, match=r"a C array holds a \.tflite file"):
        edgewright.to_c_array(source, tmp_path / "x.cc")


def test_a_build_goes_on_where_only_the_microcontroller_lacks_an_operator(tmp_path):
    text = """<ir_version: 10, opset_import: ["" : 21]> g (float[1,8] x) => (float[1,3] y, int64[1,3] i)
        <int64[1] k = {3}> { s = Sigmoid(x) y, i = TopK(s, k) }"""
    (tmp_path / "m.onnx").write_bytes(onnx.parser.parse_model(text).SerializeToString())
    built = edgewright.build(
        str(tmp_path / "m.onnx"), devices=["nrf5340", "raspberry-pi-4"], precision="float32", bench=False,
        out=tmp_path / "out", store=tmp_path / "store",
    )  # fmt: skip
    assert {str(spec): why.split("\n")[1].strip() for spec, why in built.plan.blocked.items()} == {
        "tflm:float32": "TopK × 1: tflite-micro has no TOPK_V2 (TopK_y)"
    }
    assert (built.out / "float32.tflite").exists() and built.best["raspberry-pi-4"] is not None
    assert built.best["nrf5340"] is None


def test_a_recipe_names_the_model_for_its_users(clean_models, tmp_path):
    (tmp_path / "net.onnx").write_bytes(clean_models["watch_cnn"].read_bytes())
    (tmp_path / "labels.txt").write_text("\n".join(NAMES))
    recipe = """model = "net.onnx"
devices = ["wear-os-w5"]
precisions = ["float32"]
[metadata]
name = "Gestures"
license = "MIT"
labels = "labels.txt"
mean = [0.5]
std = [2.0]
[options.tflite-float32]
layout = "nhwc"
"""
    (tmp_path / "edgewright.toml").write_text(recipe)
    built = edgewright.build(
        recipe=tmp_path / "edgewright.toml", bench=False, out=tmp_path / "out", store=tmp_path / "store"
    )
    found = read(built.out / "float32.tflite").metadata
    assert (found["name"], found["license"], found["normalization"]) == ("Gestures", "MIT", "(raw - 0.5) / 2")
    assert built.hops[-1].options["layout"] == "nhwc"


def test_a_recipe_with_wrong_metadata(tmp_path):
    text = (
        'model = "net.onnx"\n[preprocess]\nscale = 2.0\n[metadata]\nlabels = "absent.txt"\nmean = [0.0]\nautor = "me"\n'
    )
    (tmp_path / "edgewright.toml").write_text(text)
    with pytest.raises(BadRecipe) as caught:
        read_recipe(Path(tmp_path / "edgewright.toml"))
    assert "[preprocess] is inside the model already" in str(caught.value)
    assert "absent.txt: no file of labels" in str(caught.value)
