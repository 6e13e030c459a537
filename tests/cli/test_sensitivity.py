"""`edgewright inspect --sensitivity`, and the budget that reaches a mixed build."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import edgewright
from edgewright import cli
from edgewright.api.request import step_options
from edgewright.devices.device import Budget
from edgewright.export.onnx.quantize.mixed import MixedOptions
from edgewright.recipe import Recipe, read_recipe
from tests.models import samples


@pytest.fixture
def call(monkeypatch, capsys):
    """Run a command line in this process; gives (exit code, stdout, stderr)."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["edgewright", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out = capsys.readouterr()
        return ended.value.code or 0, out.out, out.err

    return run


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = samples("watch_cnn", 12).numpy()
    np.savez(tmp_path / "data.npz", input=rows, split=np.array(["validation"] * 8 + ["test"] * 4))
    return tmp_path / "data.npz"


def test_the_table_names_what_adds_most(call, clean_models, int8_models, data):
    files = (int8_models["watch_cnn"], "--against", clean_models["watch_cnn"], "--data", data)
    code, out, _ = call("inspect", *files[:1], "--sensitivity", *files[1:], "--outputs")
    assert code == 0
    head, *rows = out.splitlines()
    assert head.split("  ")[0] == "operator" and head.endswith("output dB")
    assert [row.split()[0] for row in rows[:3]] == ["Input", "Conv", "MaxPool"]
    assert rows[-2] == "SNR against float on 8 samples; local: fed with the float model's values"
    measured = edgewright.sensitivity(files[0], files[2], str(data), outputs=True)
    worst = next(row for row in measured.ops if row.tensor == measured.culprit)
    assert rows[-1] == f"adds most of the noise: {worst.op} {worst.node} (tensor {worst.tensor})"


def test_json_holds_every_figure(call, clean_models, int8_models, data):
    files = ("--against", clean_models["watch_cnn"], "--data", data)
    code, out, _ = call("inspect", int8_models["watch_cnn"], "--sensitivity", *files, "--json")
    document = json.loads(out)
    assert code == 0 and document["samples"] == 8
    head = next(row for row in document["ops"] if row["op"] == "Gemm")
    assert head["int8"] and head["local_db"] > head["cumulative_db"] > 20
    assert head["output_db"] is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sensitivity"], "give --against FLOAT.onnx and --data"),
        (["--outputs"], "are for --sensitivity"),
        (["--against", "x.onnx"], "are for --sensitivity"),
    ],
)
def test_options_that_miss_each_other_are_refused(call, int8_models, options, message):
    code, _, err = call("inspect", int8_models["watch_cnn"], *options)
    assert code == 2 and message in err


def test_the_budget_of_the_recipe_decides_unless_the_options_do(tmp_path):
    budget = Budget(accuracy_drop=0.03)
    assert step_options(Recipe("m", budget=budget))["quantize-mixed"] == MixedOptions(accuracy_drop=0.03)
    said = {"quantize-mixed": MixedOptions(accuracy_drop=0.02, snr_db=30.0)}
    assert step_options(Recipe("m", budget=budget, options=said)) == said
    path = tmp_path / "edgewright.toml"
    path.write_text('model = "m.onnx"\nprecisions = ["mixed"]\n[options.quantize-mixed]\naccuracy_drop = 0.05\n')
    assert read_recipe(path).options == {"quantize-mixed": MixedOptions(accuracy_drop=0.05)}
