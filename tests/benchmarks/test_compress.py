"""The driver of the compression benchmarks: what is remembered, and what tables and bars come from ledgers."""

import json
import tomllib
from pathlib import Path

import pytest
import torch

from edgewright.benchmarks.compress import __main__ as driver
from edgewright.benchmarks.compress import everything, ledgers, road
from edgewright.benchmarks.compress.resume import remembered
from edgewright.benchmarks.quantization.table import Table
from edgewright.errors import BadInput
from edgewright.recipe import read_recipe
from edgewright.runtimes.module.factory import find, make

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_a_finished_unit_is_not_made_again(tmp_path):
    made = []

    def make_it():
        made.append(1)
        return {"accuracy": 0.1 + 0.2, "stage": "a"}

    assert remembered(tmp_path, "part-seed=0", make_it) == {"accuracy": 0.1 + 0.2, "stage": "a"}
    assert remembered(tmp_path, "part-seed=0", make_it) == {"accuracy": 0.1 + 0.2, "stage": "a"}
    assert len(made) == 1
    remembered(tmp_path, "part-seed=1", make_it)
    assert len(made) == 2
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["part-seed=0.json", "part-seed=1.json"]


def test_a_unit_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError):
        remembered(tmp_path, "unit", lambda: {"x": 1 / 0})
    assert remembered(tmp_path, "unit", lambda: {"x": 1}) == {"x": 1}


@pytest.mark.parametrize("text", ["[1]", "{half"])
def test_what_is_no_result_is_refused(tmp_path, text):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "unit.json").write_text(text)
    with pytest.raises(BadInput, match="remove it"):
        remembered(tmp_path, "unit", dict)


def test_a_key_is_a_file_name(tmp_path):
    with pytest.raises(BadInput, match="cannot name a result"):
        remembered(tmp_path, "../unit", dict)


def stage(accuracy, size, spec="tflite:float32"):
    return {"accuracy": accuracy, "size_bytes": size, "parameters": size // 4, "macs": 10 * size, "spec": spec}


def fake(answers, monkeypatch):
    """Ledgers of a command line that was not run: recipe → function of the seed."""
    asked = []

    def run(words):
        recipe, seed = Path(words[words.index("--recipe") + 1]).stem, int(words[words.index("--seed") + 1])
        asked.append((recipe, seed))
        return {"stages": [{"stage": name} | row for name, row in answers[recipe](seed).items()]}

    monkeypatch.setattr(ledgers, "edgewright", run)
    return asked


def road_of(seed):
    last = "trained+distill+prune"
    return {
        "trained": stage(0.92, 2_800_000),
        "trained+distill": stage(0.90 + 0.01 * seed, 1_000_000),
        last: stage(0.90, 800_000),
        f"{last} as tflite:int8": stage(0.89, 230_000 + seed, "tflite:int8"),
        f"{last} as onnx:int8": stage(0.88, 270_000 + seed, "onnx:int8"),
    }


def test_the_road_is_judged_by_means_and_its_largest_file(tmp_path, monkeypatch):
    asked = fake(
        {"student": lambda seed: {"trained": stage(0.89 + 0.01 * seed, 1_000_000)}, "road": road_of}, monkeypatch
    )
    table = road.measure(tmp_path, range(3))
    assert sorted(asked) == [(recipe, seed) for recipe in ("road", "student") for seed in range(3)]
    ahead, tflite_bytes, tflite_drop, onnx_bytes, onnx_drop = table.bars
    assert ahead.measured == pytest.approx(1.0) and ahead.met
    assert tflite_bytes.measured == 230_002 and tflite_bytes.met
    assert tflite_drop.measured == pytest.approx(1.0)
    assert onnx_bytes.measured == 270_002 and not onnx_bytes.met
    assert onnx_drop.measured == pytest.approx(2.0) and not onnx_drop.met
    assert table.rows[0]["stage"] == "StudentNet without a teacher" and table.rows[0]["± s.d."] == pytest.approx(1.0)
    assert road.measure(tmp_path, range(3)) == table and len(asked) == 6


def test_everything_is_judged_by_its_worst_ratio(tmp_path, monkeypatch):
    def answer(seed):
        return {everything.ORIGINAL: stage(0.84, 200_000), everything.LAST: stage(0.83, 19_000 + 2_000 * seed)}

    fake({"watch": answer}, monkeypatch)
    ratio, drop = everything.measure(tmp_path, range(2)).bars
    assert ratio.measured == 200_000 / 21_000 and not ratio.met
    assert drop.measured == pytest.approx(1.0)


def test_runs_of_another_recipe_are_not_mixed():
    with pytest.raises(BadInput, match="other stages"):
        ledgers.stages([{"trained": stage(0.9, 1)}, {"trained+prune": stage(0.9, 1)}])


def test_the_driver_runs_the_parts_asked_for(tmp_path, monkeypatch, capsys):
    fake({"watch": lambda _seed: {everything.ORIGINAL: stage(0.8, 9), everything.LAST: stage(0.8, 1)}}, monkeypatch)
    monkeypatch.setattr("sys.argv", ["compress", "everything", "--seeds", "1", "--out", str(tmp_path), "--json"])
    assert driver.main() == 1  # 9 times smaller, wanted 10
    (table,) = json.loads(capsys.readouterr().out)
    assert [bar["met"] for bar in table["bars"]] == [False, True]


@pytest.mark.parametrize(("words", "reason"), [(["rode"], "no part rode"), (["--seeds", "0"], "wanted 1 or more")])
def test_the_driver_refuses(monkeypatch, capsys, words, reason):
    monkeypatch.setattr("sys.argv", ["compress", *words])
    with pytest.raises(SystemExit) as ended:
        driver.main()
    assert ended.value.code == 2 and reason in capsys.readouterr().err


@pytest.mark.parametrize("part", driver.PARTS)
def test_every_part_measures(part):
    assert driver._measure(part).__annotations__["return"] in (Table, list[Table])


def test_the_teacher_has_the_topology_of_resnet18():
    networks = EXAMPLES / "compress" / "networks.py"
    product = make(find(f"{networks}:fashion_mnist"))
    convolutions = [layer for layer in product.module.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert len(convolutions) == 17 + 3 and product.module(*product.example_inputs.values()).shape == (1, 10)
    wide = find(f"{networks}:resnet18").function(width=64, channels=3, classes=10)
    assert sum(p.numel() for p in wide.parameters()) == 11_173_962  # as published for this stem


@pytest.mark.parametrize("name", ["road", "student", "watch"])
def test_recipes_are_strict_and_name_what_exists(name):
    path = EXAMPLES / "compress" / f"{name}.toml"
    recipe = read_recipe(path)
    assert Path(recipe.model.rpartition(":")[0]).exists()
    assert [each.name for each in recipe.compress] == [
        row["pass"] for row in tomllib.loads(path.read_text()).get("compress", [])
    ]
    assert recipe.data and Path(recipe.data).name in ("fashion.npz", "watch.npz")


def test_the_student_alone_trains_as_long_as_the_taught_one():
    student, distilled = (read_recipe(EXAMPLES / "compress" / f"{name}.toml") for name in ("student", "road"))
    assert distilled.compress[0].config.student == student.model
    for setting in ("epochs", "batch", "learning_rate", "weight_decay", "seed"):
        assert getattr(distilled.compress[0].config, setting) == getattr(student.train, setting)
