"""`edgewright inspect --sensitivity`, and the budget that reaches a mixed build."""

import json
from pathlib import Path

import numpy as np
import pytest

import edgewright
from edgewright.api.request import step_options
from edgewright.devices.device import Budget
from edgewright.devices.spec import Precision
from edgewright.export.onnx.quantize.factors import EQUALIZED_KEY
from edgewright.export.onnx.quantize.mixed import MixedOptions
from edgewright.export.steps import Job
from edgewright.export.tflite.convert import TfliteInt8Options, tflite_int8
from edgewright.recipe import Recipe, read_recipe
from edgewright.runtimes.artifact import artifact_at
from edgewright.runtimes.read import read
from tests.models import samples


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


def test_equalized_channels_are_compared_with_a_float_model_equalized_alike(clean_models, int8_models, tmp_path):
    """Whatever the factors, an inner tensor of the int8 files is near that of the float model that has them too."""
    truth, float_file = int8_models["student_net"], clean_models["student_net"]
    assert EQUALIZED_KEY in read(truth).metadata
    tflite_int8(artifact_at(truth, Precision.INT8), tmp_path / "int8.tflite", Job(), TfliteInt8Options())
    np.savez(tmp_path / "data.npz", input=samples("student_net", 8).numpy(), split=np.array(["validation"] * 8))
    for path in (truth, tmp_path / "int8.tflite"):
        measured = edgewright.sensitivity(path, float_file, str(tmp_path / "data.npz"))
        assert min(row.cumulative_db for row in measured.ops) > 15
        assert all(row.local_db is None or row.local_db > 20 for row in measured.ops)


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
