"""`edgewright compress`: the ledger of a small network that is distilled and pruned, and what is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter

import edgewright
from edgewright.devices.spec import Spec
from edgewright.errors import BadInput

TESTS = Path(__file__).parents[1]
RECIPE = """
model = "user_net.py:net"
data = "data.npz"
[preprocess]
dtype = "uint8"
scale = 0.00392156862745098
mean = [0.5]
std = [0.25]
[train]
epochs = 3
batch = 32
learning_rate = 0.02
[[compress]]
pass = "prune"
amount = 0.5
[[compress]]
pass = "distill"
teacher = ["original"]
epochs = 2
batch = 32
learning_rate = 0.01
"""
LAST = "trained+prune+distill"
STAGES = ["trained", "trained+prune", LAST, f"{LAST} as onnx:int8"]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Rows, columns and checkerboards under noise: three classes."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copy(TESTS / "user_net.py", folder)
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:12, :12]
    labels = generator.integers(0, 3, 500)
    images = np.stack([y % 2, x % 2, (x // 2 + y // 2) % 2])[labels] * 160 + 40 + generator.normal(0, 60, (500, 12, 12))
    arrays = {"image": np.clip(images, 0, 255).astype(np.uint8)[:, None]}
    split = np.repeat(["train", "validation", "test"], [300, 80, 120])
    np.savez(folder / "data.npz", labels=labels, split=split, **arrays)
    np.savez(folder / "unlabelled.npz", split=split, **arrays)
    (folder / "recipe.toml").write_text(RECIPE)
    return folder


@pytest.fixture(scope="module")
def ledger(project):
    return edgewright.compress_module(
        recipe=project / "recipe.toml",
        to=[Spec.parse("tflite:float32"), Spec.parse("onnx:int8")],
        out=project / "out",
        store=project / "store",
        bench=False,
    )


def test_each_stage_is_a_file_and_the_last_one_also_another(ledger, project):
    assert [stage.name for stage in ledger.stages] == STAGES
    assert ledger.failures == () and ledger.samples == 120
    first, pruned, taught, int8 = ledger.stages
    assert pruned.parameters < 0.4 * first.parameters and taught.parameters == pruned.parameters
    assert 2 * pruned.macs < first.macs and taught.macs == pruned.macs
    assert pruned.size_bytes < first.size_bytes and int8.spec == Spec.parse("onnx:int8")
    assert first.snr_db > 80 and first.accuracy > 0.9 and taught.accuracy > 0.9
    names = {"trained.float32.tflite", f"{LAST}.float32.tflite", f"{LAST}.int8.onnx", f"{LAST}.torch", "ledger.json"}
    assert names <= {path.name for path in (project / "out").iterdir()}


def test_accuracy_is_what_the_runtimes_give_on_the_test_part(ledger, project):
    data = np.load(project / "data.npz")
    images, labels = data["image"][-120:], data["labels"][-120:]
    session = onnxruntime.InferenceSession(project / "out" / f"{LAST}.int8.onnx", providers=["CPUExecutionProvider"])
    answers = [session.run(None, {"image": image[None]})[0].argmax() for image in images]
    assert np.mean(answers == labels) == pytest.approx(ledger.stages[3].accuracy, abs=0.01)
    interpreter = Interpreter(str(project / "out" / f"{LAST}.float32.tflite"))
    interpreter.allocate_tensors()
    (given,), (made,) = interpreter.get_input_details(), interpreter.get_output_details()
    answers = []
    for image in images:
        interpreter.set_tensor(given["index"], image[None].reshape(given["shape"]))
        interpreter.invoke()
        answers.append(interpreter.get_tensor(made["index"]).argmax())
    assert np.mean(answers == labels) == ledger.stages[2].accuracy
    assert ledger.stages[2].size_bytes == (project / "out" / f"{LAST}.float32.tflite").stat().st_size


@pytest.mark.usefixtures("ledger")
def test_json_holds_each_stage_against_the_original_and_the_one_before(project):
    raw = json.loads((project / "out" / "ledger.json").read_text())
    first, pruned, taught, int8 = raw["stages"]
    assert "against" not in first and [row["pass"] for row in raw["stages"]] == ["train", "prune", "distill", "distill"]
    assert pruned["against"]["original"] == pruned["against"]["before"]
    assert taught["against"]["before"]["size_bytes"] == pytest.approx(1.0, abs=0.02)
    whole = int8["against"]["original"]
    assert whole["size_bytes"] == first["size_bytes"] / int8["size_bytes"]
    assert whole["accuracy_drop"] == first["accuracy"] - int8["accuracy"]
    assert whole["latency"] is None and int8["latency"] == "not asked for"


@pytest.mark.usefixtures("ledger")
def test_the_command_prints_the_ledger_from_the_store(project, call):
    words = ["--recipe", project / "recipe.toml", "--to", "tflite:float32,onnx:int8", "--store", project / "store"]
    code, out, err = call("compress", *words, "--out", project / "again", "--no-bench")
    assert code == 0 and "0 passes made now" in out
    rows = [line.split() for line in out.splitlines() if line.startswith("trained")]
    assert [row[0] for row in rows] == ["trained", "trained+prune", LAST, LAST]
    assert "× smaller" in out and "median ms" not in out and "120 test samples" in out
    assert "prune → trained+prune  [from the store, verified]" in err
    same = f"{LAST}.torch/weights.safetensors"
    assert (project / "again" / same).read_bytes() == (project / "out" / same).read_bytes()


def test_another_seed_keeps_the_original_and_times_it(ledger, project, call):
    words = ["--recipe", project / "recipe.toml", "--seed", "1", "--store", project / "store", "--json"]
    code, out, _ = call("compress", *words, "--out", project / "seed1")
    first, pruned, taught = json.loads(out)["stages"]
    assert code == 0 and first["from_store"] and pruned["from_store"] and not taught["from_store"]
    assert taught["options"]["config"]["seed"] == 1
    low, high = taught["latency"]["interval_ms"]
    assert 0 < low <= taught["latency"]["median_ms"] <= high and taught["against"]["original"]["latency"] > 0
    assert first["accuracy"] == ledger.stages[0].accuracy


def test_without_labels_the_ledger_tells_snr(project, call, tmp_path):
    text = RECIPE.replace("data.npz", "unlabelled.npz")
    (project / "plain.toml").write_text(text[: text.index("[train]")] + '[[compress]]\npass = "prune"\n')
    words = ["--recipe", project / "plain.toml", "--store", project / "store", "--no-bench"]
    code, out, _ = call("compress", *words, "--out", tmp_path / "out")
    assert code == 0 and "SNR dB" in out and "accuracy" not in out and "original+prune" in out


@pytest.mark.parametrize(
    ("change", "words", "reason"),
    [
        ("model", [], "train and compress change a torch module"),
        ("bare", [], "neither trains nor compresses"),
        (None, ["--to", "torch:float32"], "torch:float32 is no file that is exported"),
        (None, ["--to", ","], "no file to measure"),
        (None, ["--to", "tflite:int9"], "unknown precision 'int9'"),
        (None, ["--out", "{project}"], "no earlier result with a ledger.json"),
        ("typo", [], "compress[0].pass is 'prun'; did you mean 'prune'?"),
    ],
)
def test_what_cannot_be_done_ends_in_2_with_the_reason(project, call, tmp_path, change, words, reason):
    texts = {
        "model": RECIPE.replace("user_net.py:net", "net.onnx"),
        "bare": 'model = "user_net.py:net"',
        "typo": RECIPE.replace('"prune"', '"prun"'),
    }
    path = project / f"{change}.toml"
    path.write_text(texts.get(change, RECIPE))
    given = [word.format(project=project) for word in words]
    place = [] if "--out" in given else ["--out", tmp_path / "out"]
    code, out, err = call("compress", "--recipe", path, "--no-bench", *place, *given)
    assert code == 2 and reason in err and out == "" and not (tmp_path / "out").exists()


def test_a_recipe_is_needed(call):
    code, _, err = call("compress", "net.py:net")
    assert code == 2 and "no --recipe" in err


def test_a_folder_of_another_kind_is_refused_before_the_work(project, tmp_path):
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(BadInput, match=r"ledger\.json"):
        edgewright.compress_module(recipe=project / "recipe.toml", out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
