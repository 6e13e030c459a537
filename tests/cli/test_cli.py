"""The command line: what it prints where, its exit codes, and that mistakes show no traceback."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

COMMANDS = ("bench", "build", "compare", "convert", "devices", "doctor", "fit", "inspect", "ops", "run", "verify")


@pytest.fixture(scope="module")
def files(clean_models, probes, tmp_path_factory):
    """A watch network and its samples."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "net.onnx").write_bytes(clean_models["watch_cnn"].read_bytes())
    rows = np.tile(probes["watch_cnn"], (8, 1, 1))
    rows += np.random.default_rng(0).normal(0, 0.1, rows.shape).astype(np.float32)
    np.savez(folder / "data.npz", input=rows, labels=np.zeros(len(rows), np.int64))
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(call, command):
    code, out, _ = call(command, "--help")
    assert code == 0 and f"Example: edgewright {command}" in " ".join(out.split()).replace("│ ", "")
    assert "--json" in out


def test_help_imports_nothing_heavy():
    code = (
        "import sys; sys.argv = ['edgewright', '--help']\n"
        "from edgewright import cli\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'onnx', 'onnx_ir', 'onnxruntime', 'coremltools', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for command in COMMANDS:
        assert command in done.stdout


def test_what_is_left_in_memory_is_not_searched_once_more_at_the_end():
    code = (
        "import sys; sys.argv = ['edgewright', 'devices']\n"
        "from edgewright import cli\n"
        "class Searched:\n"
        "    def __del__(self, tell=sys.__stdout__.write): tell('searched')\n"
        "cycle = Searched()\n"
        "cycle.itself = cycle\n"
        "del cycle\n"
        "{main}\n"
    )
    mains = ("try: cli.main()\nexcept SystemExit: pass", "pass")
    printed = [
        subprocess.run(
            [sys.executable, "-c", code.format(main=main)], capture_output=True, text=True, check=True
        ).stdout
        for main in mains
    ]
    assert ["searched" in text for text in printed] == [False, True]


def test_convert_verify_inspect_run_fit_compare(call, files, tmp_path):
    store = ("--store", tmp_path / "store")
    source, small, data = files / "net.onnx", tmp_path / "q.tflite", files / "data.npz"
    code, out, err = call("convert", source, small, "--precision", "int8", "--data", data, *store, "--json")
    document = json.loads(out)
    assert code == 0 and document["steps"] == ["start", "import", "quantize", "tflite-int8"]
    assert "onnx:float32 ─quantize→ onnx:int8 ─tflite-int8→ tflite:int8" in err
    assert document["size_bytes"] == small.stat().st_size

    code, out, _ = call("inspect", small, "--json")
    seen = json.loads(out)
    assert (seen["precision"], seen["int8_share"]) == ("int8", 1.0)
    code, out, _ = call("inspect", small)
    assert "tflite:int8" in out and "CONV_2D" in out and "input input: 1×6×100 float32" in out

    code, out, _ = call("verify", source, small, "--data", data)
    assert code == 0 and "within the limits" in out

    code, out, _ = call("run", small, "--data", data, "--out", tmp_path / "y.npz")
    with np.load(tmp_path / "y.npz") as answers:
        assert answers["output"].shape == (64, 7)

    code, out, _ = call("fit", small, "--for", "nrf5340,apple-watch-s9", "--json")
    assert code == 0 and [fit["verdict"] for fit in json.loads(out)] == ["FITS", "NO"]
    code, out, _ = call("fit", small, "--for", "apple-watch-s9")
    assert code == 1 and "apple-watch-s9 loads coreml" in out

    code, out, _ = call("bench", small, "--json")
    assert code == 0 and json.loads(out)[0]["origin"] == "measured"
    code, out, _ = call("compare", source, small, "--json")
    assert code == 0 and json.loads(out)["pairs"] > 0


def test_verify_fails_with_exit_code_1(call, files, tmp_path, int8_models):
    other = tmp_path / "other.onnx"
    call("convert", files / "net.onnx", tmp_path / "h.onnx", "--precision", "float16", "--store", tmp_path / "store")
    other.write_bytes(int8_models["watch_cnn"].read_bytes())
    code, out, _ = call("verify", tmp_path / "h.onnx", files / "net.onnx", "--data", files / "data.npz")
    assert code == 1 and "is below 80 dB" in out


def test_listings(call):
    code, out, _ = call("devices")
    assert code == 0 and "nrf5340" in out and "raspberry-pi-4" in out
    code, out, _ = call("devices", "nrf5340", "--json")
    assert json.loads(out)[0]["ram_bytes"]["standing"] in ("measured", "published", "derived", "assumed")
    code, out, _ = call("ops", "tflite", "--json")
    assert {"Conv", "Gemm", "MaxPool"} <= {row["op_type"] for row in json.loads(out)}
    code, out, _ = call("ops", "coreml")
    assert "Conv" in out


def test_doctor(call, tmp_path):
    code, out, _ = call("doctor", "--store", tmp_path, "--json")
    health = json.loads(out)
    assert code == 0 and health["store_bytes"] == 0
    assert health["runtimes"]["litert"] is None and health["steps"]["onnx:int8 → tflite:int8"] is None
    code, out, _ = call("doctor", "--store", tmp_path, "--prune", "10M")
    assert code == 0 and "0 B removed" in out
    code, _, err = call("doctor", "--store", tmp_path, "--prune", "much")
    assert code == 2 and "write a size like 500M" in err


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("build", "x.onnx", "--for", "aple-watch"), "unknown device 'aple-watch'; did you mean 'apple-watch-s9'?"),
        (("build", "x.onnx"), "no device: give --for"),
        (("build", "--for", "nrf5340"), "no model: give one, or a recipe"),
        (("build", "absent.onnx", "--for", "raspberry-pi-4"), "absent.onnx"),
        (("build", "no.such:factory", "--for", "raspberry-pi-4"), "No module named 'no'"),
        (("build", "x.onnx", "--for", "nrf5340", "--precision", "int9"), "unknown precision 'int9'"),
        (("convert", "absent.onnx", "y.tflite"), "absent.onnx"),
        (("convert", "x.onnx", "y.gguf"), "name the output .onnx, .tflite or .mlpackage"),
        (("convert", "no.such:factory", "y.onnx", "--layout", "diagonal"), "layout is 'diagonal'"),
        (("inspect", "absent.tflite"), "no such file"),
        (("inspect", __file__), "unknown kind of model"),
        (("run", "absent.onnx", "--data", "d.npz"), "no such file"),
        (("devices", "nrf5430"), "did you mean 'nrf5340'"),
        (("ops", "tflight"), "did you mean 'tflite'"),
        (("bench", "absent.tflite"), "no such file"),
    ],
)
def test_mistakes_exit_with_2_and_a_sentence(call, words, reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEWRIGHT_STORE", str(tmp_path / "store"))
    code, out, err = call(*words)
    assert code == 2 and reason in err
    assert "Traceback" not in err and out == ""


def test_mistakes_with_json_give_one_document_too(call):
    code, out, err = call("devices", "nrf5430", "--json")
    assert code == 2 and json.loads(out) == {"error": err.removeprefix("edgewright: ").strip(), "kind": "BadInput"}


@pytest.mark.parametrize("name", ["bad.onnx", "bad.tflite", "bad.mlpackage", "bad.torch"])
@pytest.mark.parametrize("content", [b"", b"garbage that is no model at all" * 20])
def test_corrupt_files(call, tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    code, _, err = call("inspect", path)
    assert code == 2 and name in err and "Traceback" not in err


def test_data_of_the_wrong_shape(call, files, tmp_path):
    np.savez(tmp_path / "wrong.npz", input=np.zeros((8, 6, 99), np.float32))
    code, _, err = call("run", files / "net.onnx", "--data", tmp_path / "wrong.npz")
    assert code == 2 and "1×6×100" in err and "1×6×99" in err
    np.savez(tmp_path / "misnamed.npz", other=np.zeros((8, 6, 100), np.float32))
    code, _, err = call("run", files / "net.onnx", "--data", tmp_path / "misnamed.npz")
    assert code == 2 and "no array for input(s) ['input']; it has ['other']" in err


def test_unsupported_operators_are_all_listed(call, tmp_path):
    import onnx.parser

    text = """<ir_version: 10, opset_import: ["" : 20]>
    g (float[1,16] x) => (float[1,16] y) <int64[3] s = {1,4,4}>
    { k = Reshape(x, s) a = Det(k) b = Bernoulli(x) c = Bernoulli(b) y = Add(c, a) }"""
    model = onnx.parser.parse_model(text)
    onnx.save(model, tmp_path / "odd.onnx")
    code, _, err = call("convert", tmp_path / "odd.onnx", tmp_path / "odd.tflite", "--store", tmp_path / "store")
    assert code == 2
    assert "Bernoulli × 2" in err and "Det × 1" in err and "edgewright ops tflite" in err
    assert not (tmp_path / "odd.tflite").exists()


def test_nan_weights_in_an_onnx_file(call, files, tmp_path):
    import onnx
    from onnx import numpy_helper

    model = onnx.load(files / "net.onnx")
    weight = next(t for t in model.graph.initializer if len(t.dims) == 3)
    broken = numpy_helper.to_array(weight).copy()
    broken[0, 0, 0] = np.nan
    weight.CopyFrom(numpy_helper.from_array(broken, weight.name))
    onnx.save(model, tmp_path / "nan.onnx")
    code, _, err = call("convert", tmp_path / "nan.onnx", tmp_path / "nan.tflite", "--store", tmp_path / "store")
    assert code == 2 and weight.name in err and "NaN" in err


def test_a_missing_extra_says_what_to_install(call, files, tmp_path, monkeypatch):
    from edgewright.export import steps

    real = steps._version
    monkeypatch.setattr(steps, "_version", lambda name: None if name == "coremltools" else real(name))
    code, _, err = call("convert", files / "net.onnx", tmp_path / "x.mlpackage", "--store", tmp_path / "store")
    assert code == 2 and "needs coremltools: pip install 'edgewright[coreml]'" in err


def test_it_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "edgewright", "devices"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    )
    assert done.returncode == 0 and "apple-watch-s9" in done.stdout and done.stderr == ""


def test_a_torch_artifact_has_no_operators_yet(call, tmp_path):
    folder = Path(__file__).parents[1]
    words = ("build", f"{folder}/user_net.py:net", "--for", "raspberry-pi-4,apple-watch-s9", "--precision", "float32")
    code, out, _ = call(*words, "--no-bench", "--out", tmp_path / "out", "--store", tmp_path / "store")
    assert "apple-watch-s9: ship float32.mlpackage" in out and "its answers unverified here)" not in out
    assert "verified by mil-evaluator: CPU semantics by edgewright's evaluator, not the Neural Engine" in out
    assert "measured here" not in out
    assert code == 0 and "raspberry-pi-4: ship float32." in out
    code, out, _ = call("inspect", tmp_path / "out" / "original.torch", "--json")
    assert (
        code == 0 and json.loads(out)["macs"] is None and json.loads(out)["parameters"] == 2661
    )  # batch statistics too
    code, out, _ = call("inspect", tmp_path / "out" / "original.torch")
    assert code == 0 and "operators are known once it is exported" in out


def test_without_torch_a_module_asks_for_the_extra(call, monkeypatch, tmp_path):
    monkeypatch.setattr("edgewright.runtimes.module.find_spec", lambda _name: None)
    code, _, err = call("convert", "net.py:net", tmp_path / "x.onnx", "--store", tmp_path / "store")
    assert code == 2 and "a PyTorch module as source needs 'torch': pip install 'edgewright[torch]'" in err


def test_without_coremltools_a_package_asks_for_the_extra(call, monkeypatch, tmp_path):
    (tmp_path / "x.mlpackage" / "Data" / "com.apple.CoreML").mkdir(parents=True)
    (tmp_path / "x.mlpackage" / "Data" / "com.apple.CoreML" / "model.mlmodel").write_bytes(b"")
    manifest = {"itemInfoEntries": {"1": {"path": "com.apple.CoreML/model.mlmodel"}}, "rootModelIdentifier": "1"}
    (tmp_path / "x.mlpackage" / "Manifest.json").write_text(json.dumps(manifest))
    monkeypatch.setattr("edgewright.runtimes.read.mil_proto.PACKAGE", "_nowhere")
    monkeypatch.setattr("edgewright.runtimes.read.mil_proto.importlib.util.find_spec", lambda _name: None)
    code, _, err = call("inspect", tmp_path / "x.mlpackage")
    assert code == 2 and "reading a Core ML package needs 'coremltools': pip install 'edgewright[coreml]'" in err
