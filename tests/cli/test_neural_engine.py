"""`inspect --neural-engine` and `verify --mac-…` as command lines."""

import json

import numpy as np
import pytest

from edgewright.export.coreml.convert import coreml_float16
from edgewright.export.coreml.options import CoremlOptions
from edgewright.export.steps import Job
from edgewright.runtimes.artifact import artifact_at


@pytest.fixture
def files(clean_models, tmp_path):
    (tmp_path / "net.onnx").write_bytes(clean_models["watch_cnn"].read_bytes())
    coreml_float16(artifact_at(tmp_path / "net.onnx"), tmp_path / "net.mlpackage", Job(), CoremlOptions())
    drawn = np.random.default_rng(1).standard_normal((8, 6, 100)).astype(np.float32)
    np.savez(tmp_path / "data.npz", input=drawn, split=["test"] * 8)
    return tmp_path


def test_inspect_tells_what_is_eligible_and_why(files, call):
    code, out, _ = call("inspect", files / "net.mlpackage", "--neural-engine")
    assert code == 0
    assert "eligible: 14 operations, 100.0 % of the MACs" in out
    assert "hand-overs in the program's order: 0" in out
    assert "weights: 22.3 kB stored, 22.3 kB with all of them decoded" in out
    assert "apple-watch-s9: 31.1 kB in all, of 15.0 MB (assumed): 0.2 %" in out
    assert "source of 'native from M1 to M5': https://aneforge.readthedocs.io/en/latest/op-catalog/" in out
    assert "runs on" not in out
    code, out, _ = call("inspect", files / "net.mlpackage", "--neural-engine", "--json")
    found = json.loads(out)
    assert found["totals"]["eligible"] == {"operations": 14, "macs": 368336}
    assert found["devices"][0]["needed_bytes"] == 22318 + 8832
    code, _, err = call("inspect", files / "net.onnx", "--neural-engine")
    assert code == 2 and "not an .mlpackage" in err


def test_verify_writes_for_a_mac_and_says_what_is_missing(files, call):
    folder = files / "for_mac"
    words = ("verify", files / "net.onnx", files / "net.mlpackage")
    code, out, _ = call(*words, "--data", files / "data.npz", "--mac-script", folder)
    assert code == 0 and f"python3 {folder}/profile_on_mac.py" in out
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "net", "profile_on_mac.py"]
    code, _, err = call(*words)
    assert code == 2 and "give --data, or --mac-results" in err
    code, _, err = call(*words, "--mac-results", files / "no.json")
    assert code == 2 and "no such file" in err
    code, _, err = call(*words, "--mac-results", files / "no.json", "--data", files / "data.npz")
    assert code == 2 and "brings its own samples" in err


def test_verify_judges_what_a_mac_measured(files, call):
    folder = files / "for_mac"
    words = ("verify", files / "net.onnx", files / "net.mlpackage")
    call(*words, "--data", files / "data.npz", "--mac-script", folder)
    results = files / "results.json"
    results.write_text(json.dumps(measured(json.loads((folder / "manifest.json").read_text())["cases"][0], "30.0")))
    code, out, _ = call(*words, "--mac-results", results)
    assert code == 1
    assert "measured on Mac14,2 (Apple M2), macOS 15.1" in out
    assert "CPU_ONLY: SNR 30.0 dB is below 40 dB" in out
    results.write_text(results.read_text().replace('"30.0"', '"inf"'))
    code, out, _ = call(*words, "--mac-results", results, "--json")
    found = json.loads(out)
    assert code == 0 and found["measured_on"] == "Mac14,2 (Apple M2), macOS 15.1" and found["missed"] == []


def measured(case, snr_db):
    against = {"outputs": {"output": {"snr_db": snr_db, "max_abs": 0.1}}, "top1_agreement": 1.0}
    unit = {
        "error": "", "load_ms": 12.0, "first_ms": 1.0, "median_ms": 0.2, "p90_ms": 0.3, "runs": 10,
        "against": {"reference": against, "evaluator": against}, "placement": [], "placement_error": "none",
    }  # fmt: skip
    machine = dict.fromkeys(("memory_bytes", "build", "python", "coremltools", "measured"), "")
    machine |= {"model": "Mac14,2", "chip": "Apple M2", "macos": "15.1"}
    kept = {key: case[key] for key in ("name", "digest", "reference_digest", "samples")}
    return {"format": 1, "edgewright": "0", "machine": machine, "cases": [kept | {"units": {"CPU_ONLY": unit}}]}
