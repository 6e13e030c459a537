import json

import numpy as np
import pytest
import torch
from torch import nn

from edgewright.api.files import load, run
from edgewright.api.staged import staged
from edgewright.compress.early_exit import EarlyExit, with_exits
from edgewright.compress.passes import Given
from edgewright.compress.training import Training
from edgewright.data import Samples
from edgewright.errors import BadData, BadInput

CONFIG = EarlyExit(("2",), drop=0.02)


def halves() -> Samples:
    x = np.random.default_rng(0).normal(size=(400, 6)).astype(np.float32)
    split = np.repeat(["train", "validation", "test"], [200, 100, 100])
    return Samples({"x": x}, (x.sum(axis=1) > 0).astype(np.int64), split)


@pytest.fixture(scope="module")
def exits() -> nn.Module:
    torch.manual_seed(1)
    network = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    parts = [halves().part(part) for part in ("train", "validation")]
    return with_exits(network, CONFIG, Given({"x": torch.zeros(1, 6)}, *parts, Training(10, learning_rate=0.02)))


@pytest.mark.parametrize("suffix", [".onnx", ".tflite"])
def test_a_folder_of_stages_runs_as_one_model(exits, suffix, tmp_path):
    data = halves()
    made = staged(
        exits, {"x": torch.zeros(1, 6)}, data, tmp_path / "out", CONFIG,
        suffix=suffix, bench=False, store=tmp_path / "store",
    )  # fmt: skip
    assert sorted(file.name for file in made.out.iterdir()) == [f"stage_1{suffix}", f"stage_2{suffix}", "staged.json"]
    assert made.network_macs == 6 * 8 + 8 * 8 + 8 * 2
    assert made.worst_macs == made.network_macs + 8 * 2
    assert made.validation.accuracy >= 0.85 and made.test.mean_cost < made.worst_macs
    np.savez(tmp_path / "test.npz", x=data.part("test").inputs["x"])
    answers = run(made.out, str(tmp_path / "test.npz"))
    left = np.bincount(answers["exit"], minlength=3)[1:] / 100
    assert left.tolist() == pytest.approx(made.test.rates)
    assert (answers["output"].argmax(axis=1) == data.part("test").labels).mean() == pytest.approx(made.test.accuracy)
    with torch.no_grad():
        early, last = (each.numpy() for each in exits(torch.from_numpy(data.part("test").inputs["x"])))
    wanted = np.where(answers["exit"][:, None] == 1, early, last)
    assert answers["output"] == pytest.approx(wanted, abs=1e-5)


def test_the_manifest_is_enough_for_an_app_and_a_damaged_one_is_refused(exits, tmp_path):
    made = staged(
        exits, {"x": torch.zeros(1, 6)}, halves(), tmp_path / "out", CONFIG,
        suffix=".onnx", bench=False, store=tmp_path / "store",
    )  # fmt: skip
    raw = json.loads((made.out / "staged.json").read_text())
    assert [stage["scores"] for stage in raw["stages"]] == ["scores_1", "scores_2"]
    assert raw["stages"][1]["inputs"] == ["features_1"]
    assert raw["gate"]["rule"].startswith("p = softmax(scores)")
    with pytest.raises(BadInput, match="wants shape 1×6"):
        load(made.out).run({"x": np.zeros((2, 6), np.float32)})
    (made.out / "staged.json").write_text("{}")
    with pytest.raises(BadInput, match=r"no readable staged\.json"):
        load(made.out)


def test_refusals(exits, tmp_path):
    data, examples = halves(), {"x": torch.zeros(2, 6)}
    with pytest.raises(BadInput, match=r"not as '\.pt2'; each sample leaves where it can"):
        staged(exits, examples, data, tmp_path / "out", CONFIG, suffix=".pt2")
    with pytest.raises(BadData, match="need labelled samples"):
        staged(exits, {"x": torch.zeros(1, 6)}, Samples(data.inputs), tmp_path / "out", CONFIG)
