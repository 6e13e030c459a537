"""The package as a whole: what importing costs, that it runs from a zip, that names are public, that layers hold."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import edgewright

SOURCE = Path(edgewright.__file__).parent


PASSES = ["cluster", "distill", "factorize", "prune", "separate", "slim", "sparsify"]


def run(code, *, zipped=None):
    environment = {"PATH": "/usr/bin:/bin"} | ({"PYTHONPATH": str(zipped)} if zipped else {})
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, json, edgewright; print(json.dumps(sorted(sys.modules)))"
    assert not {"numpy", "torch", "onnx", "typer", "rich"} & set(run(code))


def test_looking_for_steps_runtimes_and_passes_loads_nothing_heavy():
    code = """
import sys, json
from edgewright.compress.passes import passes
from edgewright.export.steps import steps
from edgewright.runtimes.runtime import runtimes
assert steps() and runtimes() and passes()
print(json.dumps(sorted(sys.modules)))
"""
    heavy = {"torch", "onnx", "onnx_ir", "onnxscript", "onnxruntime", "coremltools", "ai_edge_litert", "tflite_micro"}
    assert not heavy & set(run(code))


def test_it_works_from_a_zip(tmp_path):
    archive = tmp_path / "edgewright.zip"
    with zipfile.ZipFile(archive, "w") as target:
        for folder, _, names in os.walk(SOURCE, followlinks=True):
            for name in names:
                file = Path(folder, name)
                if file.suffix != ".pyc":
                    target.write(file, Path("edgewright") / file.relative_to(SOURCE))
    code = """
import json, edgewright
from edgewright.compress.passes import passes
from edgewright.devices.device import devices
from edgewright.export.steps import steps
from edgewright.export.tflite.rules import TFLITE
from edgewright.runtimes.runtime import runtimes
found = [edgewright.__file__, list(devices()), len(steps()), list(runtimes()), list(passes()), len(TFLITE.rules())]
print(json.dumps(found))
"""
    file, devices, steps, runtimes, passes, rules = run(code, zipped=archive)
    assert file.startswith(str(archive))
    assert devices == ["apple-watch-s9", "nrf5340", "nucleo-l4r5zi", "raspberry-pi-4", "wear-os-w5"]
    assert (steps, passes) == (25, PASSES) and {"torch", "onnxruntime", "litert"} <= set(runtimes) and rules > 60


def test_public_names():
    assert edgewright.__all__ == sorted(edgewright.__all__, key=lambda name: (name != "__version__", name))
    for name in edgewright.__all__:
        assert getattr(edgewright, name) is not None
    from edgewright import api

    assert set(api.__all__) == set(edgewright.__all__) - {"__version__"}


def test_every_function_of_the_api_is_documented():
    from edgewright import api

    text = (Path(__file__).parents[1] / "docs" / "api.md").read_text()
    for name in api.__all__:
        assert getattr(api, name).__doc__, name
        assert f"edgewright.{name}(" in text, name
