"""To a Mac and back, with a stand-in for coremltools: the script runs in a process of its own."""

import ast
import gc
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import edgewright
from edgewright import api
from edgewright.benchmarks.mac.bundle import MANIFEST, SCRIPT, Call, Case, write_bundle
from edgewright.benchmarks.mac.families import FAMILIES
from edgewright.benchmarks.mac.family_bundle import write_family
from edgewright.benchmarks.mac.goldens import program_call
from edgewright.benchmarks.mac.page import page
from edgewright.benchmarks.mac.results import read_results
from edgewright.benchmarks.neural_engine.lint import lint
from edgewright.errors import BadInput
from edgewright.export.coreml.convert import coreml_float16
from edgewright.export.coreml.options import CoremlOptions
from edgewright.export.steps import Job
from edgewright.export.verify import snr_db
from edgewright.runtimes.artifact import artifact_at, copy_artifact, digest_of, files_of
from edgewright.runtimes.mil.program import open_program
from tests.benchmarks.mac.stand_in import write_stand_in

SOURCE = Path(edgewright.__file__).parent.parent


@pytest.fixture(scope="session")
def net(clean_models: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with net.onnx, net.mlpackage in float16 and data.npz."""
    folder = tmp_path_factory.mktemp("net")
    (folder / "net.onnx").write_bytes(clean_models["watch_cnn"].read_bytes())
    coreml_float16(artifact_at(folder / "net.onnx"), folder / "net.mlpackage", Job(), CoremlOptions())
    drawn = np.random.default_rng(1).standard_normal((9, 6, 100)).astype(np.float32)
    np.savez(folder / "data.npz", input=drawn, split=["test"] * 8 + ["calibration"])
    return folder


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stand_in(tmp_path_factory.mktemp("stand_in"))


def on_the_mac(bundle: Path, stand_in: Path, mode: str = "") -> Path:
    environment = os.environ | {"PYTHONPATH": f"{stand_in}{os.pathsep}{SOURCE}", "STAND_IN": mode}
    words = [sys.executable, str(bundle / SCRIPT), "--seconds", "0"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return bundle / "results.json"


@pytest.fixture(scope="session")
def bundle(net: Path) -> Path:
    api.mac_script(net / "net.onnx", net / "net.mlpackage", str(net / "data.npz"), net / "for_mac")
    return net / "for_mac"


@pytest.fixture(scope="session")
def results(bundle: Path, stand_in: Path) -> Path:
    return on_the_mac(bundle, stand_in)


def arrays(bundle: Path) -> dict[str, NDArray[Any]]:
    with np.load(bundle / "net" / "goldens.npz") as stored:
        return {name: stored[name] for name in stored.files}


def test_the_folder_is_whole_and_the_same_each_time(net: Path, bundle: Path, tmp_path: Path) -> None:
    (case,) = json.loads((bundle / MANIFEST).read_text())["cases"]
    assert case["digest"] == digest_of(net / "net.mlpackage") == digest_of(bundle / case["package"])
    assert case["reference_digest"] == digest_of(net / "net.onnx")
    stored = arrays(bundle)
    assert case["samples"] == 8
    assert stored["0/input/input"].shape == (1, 6, 100)
    assert 40 < snr_db(stored["0/reference/output"], stored["0/evaluator/output"]) < 90
    again = tmp_path / "again"
    api.mac_script(net / "net.onnx", net / "net.mlpackage", str(net / "data.npz"), again)
    assert all((bundle / name.relative_to(again)).read_bytes() == name.read_bytes() for name in files_of(again))


def test_there_and_back(net: Path, bundle: Path, results: Path) -> None:
    found = api.mac_results(net / "net.onnx", net / "net.mlpackage", results)
    assert found.missed == ()
    assert [unit.unit for unit in found.case.units] == ["CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE", "ALL"]
    stored = arrays(bundle)
    rows = [np.concatenate([stored[f"{n}/{kind}/output"] for n in range(8)]) for kind in ("reference", "evaluator")]
    for unit in found.case.units:
        assert unit.runs == 10
        assert unit.against["evaluator"].snr_db == float("inf")
        assert unit.against["evaluator"].max_abs == 0
        assert unit.against["reference"].snr_db == pytest.approx(snr_db(*rows), abs=1e-9)
        assert unit.against["reference"].top1_agreement == 1
        assert unit.devices == {"NeuralEngine": 13, "GPU": 1}
        assert unit.placement[-2].type == "ios17.linear" and unit.placement[-2].supported == ("CPU", "GPU")
    [surprise] = found.surprises
    assert surprise.startswith("linear ")
    assert surprise.endswith(": by the rules eligible, the plan does not support it")


def test_a_unit_that_fails_and_one_that_errs_are_told(net: Path, bundle: Path, stand_in: Path, tmp_path: Path) -> None:
    copied = tmp_path / "for_mac"
    copy_artifact(bundle, copied)
    (copied / "net" / "model.mlpackage" / ".DS_Store").write_text("what the Finder leaves is no change")
    found = api.mac_results(net / "net.onnx", net / "net.mlpackage", on_the_mac(copied, stand_in, "broken"))
    assert found.missed[0] == "CPU_AND_GPU: RuntimeError: no GPU here"
    assert [line.split(":")[0] for line in found.missed[1:]] == ["CPU_AND_NE"]
    assert [unit.median_ms is None for unit in found.case.units] == [False, True, False, False]
    assert found.case.units[2].against["evaluator"].snr_db == pytest.approx(40, abs=0.1)


def test_results_of_another_package_or_reference_are_refused(net: Path, results: Path, tmp_path: Path) -> None:
    float32 = tmp_path / "other.mlpackage"
    write_family(FAMILIES["pooling"], "float32", float32)
    with pytest.raises(BadInput, match=r"measured net, not this .*other\.mlpackage"):
        api.mac_results(net / "net.onnx", float32, results)
    with pytest.raises(BadInput, match="not those of"):
        api.mac_results(float32, net / "net.mlpackage", results)
    changed = tmp_path / "changed.json"
    changed.write_text(results.read_text().replace('"format": 1', '"format": 9'))
    with pytest.raises(BadInput, match="format 9, not 1"):
        read_results(changed)
    changed.write_text("{}")
    with pytest.raises(BadInput, match="not the results of"):
        read_results(changed)


def test_a_package_that_was_changed_on_the_way_stops_the_script(bundle: Path, stand_in: Path, tmp_path: Path) -> None:
    copied = tmp_path / "for_mac"
    copy_artifact(bundle, copied)
    with (copied / "net" / "model.mlpackage" / "Manifest.json").open("a") as manifest:
        manifest.write(" ")
    with pytest.raises(AssertionError, match="is not the package that the expected answers belong to"):
        on_the_mac(copied, stand_in)


def test_folders_with_something_else_and_other_files_are_refused(net: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"holds no manifest\.json"):
        api.mac_script(net / "net.onnx", net / "net.mlpackage", str(net / "data.npz"), net)
    with pytest.raises(BadInput, match=r"not an \.mlpackage"):
        api.mac_script(net / "net.onnx", net / "net.onnx", str(net / "data.npz"), tmp_path / "x")
    assert not (tmp_path / "x").exists()
    (tmp_path / "measured").mkdir()
    for name in (MANIFEST, "results.json"):
        (tmp_path / "measured" / name).write_text("{}")
    with pytest.raises(BadInput, match=r"holds results\.json of a Mac: move it away"):
        api.mac_script(net / "net.onnx", net / "net.mlpackage", str(net / "data.npz"), tmp_path / "measured")


def test_the_script_is_python_3_9_and_imports_nothing_of_ours(bundle: Path) -> None:
    tree = ast.parse((bundle / SCRIPT).read_text(), feature_version=(3, 9))
    imported = [each for each in ast.walk(tree) if isinstance(each, (ast.Import, ast.ImportFrom))]
    names = {each.module if isinstance(each, ast.ImportFrom) else each.names[0].name for each in imported}
    ours = {"coremltools", "coremltools.models.compute_plan", "numpy"}
    assert {name for name in names if name and name.partition(".")[0] not in sys.stdlib_module_names} == ours


def test_packages_that_keep_states_are_refused(net: Path, tmp_path: Path) -> None:
    import coremltools as ct
    from coremltools.converters.mil import Builder

    target = ct.target.iOS18
    specs = [Builder.TensorSpec((1, 3)), Builder.StateTensorSpec((1, 3), dtype=ct.converters.mil.mil.types.fp16)]

    @Builder.program(input_specs=specs, opset_version=target)  # type: ignore[untyped-decorator]
    def program(x: Any, state: Any) -> Any:
        return Builder.add(x=x, y=Builder.cast(x=Builder.read_state(input=state), dtype="fp32"))

    package = tmp_path / "kept.mlpackage"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ct.convert(
            program, source="milinternal", minimum_deployment_target=target, compute_precision=ct.precision.FLOAT32,
            skip_model_load=True, package_dir=str(package),
        )  # fmt: skip
        gc.collect()
    assert lint(package).memory.states_bytes == 3 * 2
    with pytest.raises(BadInput, match="keeps states"):
        api.mac_script(net / "net.onnx", package, str(net / "data.npz"), tmp_path / "x")


def test_families_go_there_and_back(stand_in: Path, tmp_path: Path) -> None:
    """Two of them, made twice alike: one with weights, one with nested blocks."""
    cases = []
    for name in ("quantization", "control"):
        package, again = (tmp_path / kind / f"{name}.mlpackage" for kind in ("one", "two"))
        for place in (package, again):
            place.parent.mkdir(exist_ok=True)
            write_family(FAMILIES[name], "float16", place)
        assert digest_of(package) == digest_of(again)
        x = np.random.default_rng(7).standard_normal((1, 8, 12, 16)).astype(np.float32)
        call = program_call(open_program(package), {"x": x})
        cases.append(
            Case(name, package, [call, Call({"x": -x}, program_call(open_program(package), {"x": -x}).goldens)])
        )
    write_bundle(tmp_path / "bundle", cases)
    results = read_results(on_the_mac(tmp_path / "bundle", stand_in))
    worst = min(unit.against["evaluator"].snr_db for case in results.cases for unit in case.units)
    assert worst == float("inf")
    assert {name for case in results.cases for name in case.units[0].against["reference"].outputs_db} == {
        "out_round_trip", "out_conv", "out_cond", "out_while_loop",
    }  # fmt: skip
    text = page(results)
    assert text.count("\n") == 4 + 8
    assert "| control | ALL | " in text and "cond inf dB" in text
