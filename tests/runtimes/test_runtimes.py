"""The same network through every runtime: same answers, same refusals."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import edgewright.runtimes.tflite_legacy as legacy
from edgewright.devices.spec import Format
from edgewright.errors import BadInput, BadModel, NotTrusted
from edgewright.runtimes.artifact import artifact_at
from edgewright.runtimes.contract import Contract, TensorInfo
from edgewright.runtimes.runtime import Session, pick, run_samples, runtimes

Array = NDArray[Any]
WAYS = (
    ("onnxruntime", "tiny_onnx"),
    ("torch", "tiny_torch"),
    ("litert", "tiny_tflite"),
    ("tflite-runtime", "tiny_tflite"),
    ("tflite-micro", "tiny_tflite"),
)


def load(runtime: str, path: Path) -> Session:
    return runtimes()[runtime].load(artifact_at(path, trusted=True))


@pytest.fixture(params=WAYS, ids=lambda way: str(way[0]))
def session(request: pytest.FixtureRequest) -> Session:
    runtime, fixture = request.param
    return load(runtime, request.getfixturevalue(fixture))


def test_same_answer_in_the_original_layout(session: Session, image: Array, expected: Array) -> None:
    outputs = session.run({"image": image})
    assert list(outputs) == ["scores"]
    assert outputs["scores"].dtype == np.float32
    np.testing.assert_allclose(outputs["scores"], expected, rtol=1e-5, atol=1e-5)


def test_second_call_forgets_the_first(session: Session, image: Array, expected: Array) -> None:
    other = session.run({"image": -image})["scores"]
    again = session.run({"image": image})["scores"]
    assert np.abs(other - again).max() > 0.1
    np.testing.assert_allclose(again, expected, rtol=1e-5, atol=1e-5)


def test_prepared_runs_repeatedly_on_its_inputs(session: Session, image: Array, expected: Array) -> None:
    call = session.prepared({"image": image})
    call()
    call()
    np.testing.assert_allclose(session.run({"image": image})["scores"], expected, rtol=1e-5, atol=1e-5)


def test_intermediates_hold_the_hidden_layer(session: Session, image: Array, expected: Array) -> None:
    inner = session.intermediates({"image": image})
    hidden = next(inner[name] for name in ("r", "1") if name in inner)  # torch names modules: 1 is the ReLU
    last = next(inner[name] for name in ("scores", "y", "3") if name in inner)
    assert sorted(hidden.shape) == [1, 2, 2, 3]
    assert hidden.min() == 0.0 < hidden.max()
    np.testing.assert_allclose(last, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"picture": (1, 2, 4, 4)}, ["no array for input 'image'", "unknown input 'picture'", "float32[1, 2, 4, 4]"]),
        ({"image": (1, 4, 4, 2)}, ["wants shape 1×2×4×4, got 1×4×4×2", "expected: image"]),
        ({}, ["no array for input 'image'"]),
    ],
)
def test_wrong_inputs_are_refused(session: Session, inputs: dict[str, tuple[int, ...]], said: list[str]) -> None:
    with pytest.raises(BadInput) as caught:
        session.run({name: np.zeros(shape, np.float32) for name, shape in inputs.items()})
    assert [text for text in said if text not in str(caught.value)] == []


def test_samples_run_one_by_one(session: Session, image: Array, expected: Array) -> None:
    scores = run_samples(session, {"image": np.concatenate([image, -image, image])})["scores"]
    assert scores.shape == (3, 4)
    np.testing.assert_allclose(scores[[0, 2]], np.concatenate([expected] * 2), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("runtime", ["litert", "tflite-runtime", "tflite-micro"])
def test_int8_file_is_run_in_float(runtime: str, int8_tflite: Path) -> None:
    outputs = load(runtime, int8_tflite).run({"x": np.array([[1.0, -2.0, 0.5]], np.float32)})
    # codes 5, -1, 4 less 3: 2, -4, 1; sums 20+80+30+8 = 138 and 10-24-7-18 = -39, times 0.125: 17.25 and -4.875
    np.testing.assert_array_equal(outputs["y"], np.array([[17.0, -5.0]], np.float32))
    assert outputs["y"].dtype == np.float32


@pytest.mark.parametrize("runtime", ["litert", "tflite-runtime", "tflite-micro"])
def test_int8_intermediates_are_real_values(runtime: str, int8_tflite: Path) -> None:
    inner = load(runtime, int8_tflite).intermediates({"x": np.array([[1.0, -2.0, 0.5]], np.float32)})
    np.testing.assert_array_equal(inner["y"], [[17.0, -5.0]])


@pytest.mark.parametrize("runtime", ["litert", "tflite-runtime", "tflite-micro"])
def test_foreign_file_keeps_its_layout_and_signature_names(
    runtime: str, save_tiny_tflite: Any, tmp_path: Path, image: Array, expected: Array
) -> None:
    session = load(runtime, save_tiny_tflite(tmp_path / "foreign.tflite", None))
    assert session.contract.inputs == (TensorInfo("image", (1, 4, 4, 2), file_dtype="float32"),)
    outputs = session.run({"image": image.transpose(0, 2, 3, 1)})
    np.testing.assert_allclose(outputs["scores"], expected, rtol=1e-5, atol=1e-5)


def test_foreign_int8_stays_int8_with_its_scale(tflite_file: Any, quantized: Any, tmp_path: Path) -> None:
    file = tflite_file()
    x = file.tensor("x", (1, 3), "int8", quantized=quantized(0.5, 3))
    y = file.tensor("y", (1, 3), "int8", quantized=quantized(0.5, 3))
    file.operator("RELU", [x], [y], version=2)
    session = load("litert", file.save(tmp_path / "relu.tflite", [x], [y], None))
    assert session.contract.inputs == (TensorInfo("x", (1, 3), "int8", None, "int8", 0.5, 3),)
    answer = session.run({"x": np.array([[-7, 3, 9]], np.int8)})["y"]
    assert answer.dtype == np.int8
    np.testing.assert_array_equal(answer, [[3, 3, 9]])


def test_file_with_open_batch_is_resized(tflite_file: Any, tmp_path: Path) -> None:
    file = tflite_file()
    x, y = file.tensor("x", (1, 2)), file.tensor("y", (1, 2))
    file.graph.tensors[x].shapeSignature = file.graph.tensors[y].shapeSignature = [-1, 2]
    file.operator("RELU", [x], [y])
    session = load("litert", file.save(tmp_path / "open.tflite", [x], [y], None))
    assert session.contract.inputs[0].shape == (None, 2)
    for rows in (3, 1, 2):
        answer = session.run({"x": np.full((rows, 2), -1.0, np.float32)})["y"]
        np.testing.assert_array_equal(answer, np.zeros((rows, 2)))


@pytest.mark.parametrize("runtime", ["litert", "tflite-micro"])
def test_contract_that_names_absent_tensors_is_refused(runtime: str, save_tiny_tflite: Any, tmp_path: Path) -> None:
    wrong = Contract((TensorInfo("picture", (1, 2, 4, 4)),), (TensorInfo("scores", (1, 4)),))
    path = save_tiny_tflite(tmp_path / "wrong.tflite", wrong)
    with pytest.raises(BadModel, match=r"does not fit the file \(image → scores\): image, picture"):
        load(runtime, path)


def test_onnx_contract_must_fit_the_graph(make_onnx: Any, tmp_path: Path) -> None:
    import onnx

    node = onnx.helper.make_node("Add", ["a", "b"], ["y"])
    lone = Contract((TensorInfo("a", (2,)),), (TensorInfo("y", (2,)),))
    onnx.save(make_onnx([node], {"a": (2,), "b": (2,)}, {"y": (2,)}, {}, lone), tmp_path / "add.onnx")
    with pytest.raises(BadModel, match=r"does not fit the file \(a, b → y\): b"):
        load("onnxruntime", tmp_path / "add.onnx")


def test_torch_program_runs_when_trusted(tiny_torch: Path, tmp_path: Path, image: Array, expected: Array) -> None:
    import torch

    from edgewright.runtimes.module.folder import load_module

    path = tmp_path / "tiny.pt2"
    module = load_module(tiny_torch, trusted=True).module
    torch.export.save(torch.export.export(module, (torch.from_numpy(image),)), path)
    session = load("torch", path)
    answer = session.run({session.contract.inputs[0].name: image})
    np.testing.assert_allclose(answer["output"], expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(NotTrusted):
        runtimes()["torch"].load(artifact_at(path))


@pytest.fixture(scope="module")
def two_linear(tmp_path_factory: pytest.TempPathFactory, make_onnx: Any) -> Path:
    """x → Q → DQ → Conv → Q → DQ → Conv → Q → DQ → y, both weights with one zero point between them."""
    import onnx

    generator = np.random.default_rng(3)
    constants: dict[str, Array] = {"s": np.float32(0.05), "z": np.int8(3), "ws": np.full(8, 0.01, np.float32)}  # type: ignore[dict-item]
    constants |= {name: generator.integers(-127, 128, (8, 8, 1, 1)).astype(np.int8) for name in ("w1", "w2")}
    constants |= {"wz": np.zeros(8, np.int8)}
    nodes = []
    for source, weight, result in (("x", "w1", "h"), ("h", "w2", "o")):
        for name, scale, zero, stored in ((source, "s", "z", f"{source}_q"), (weight, "ws", "wz", weight)):
            if stored != name:
                nodes.append(onnx.helper.make_node("QuantizeLinear", [name, scale, zero], [stored]))
            nodes.append(onnx.helper.make_node("DequantizeLinear", [stored, scale, zero], [f"{name}_d"], axis=0))
        nodes.append(onnx.helper.make_node("Conv", [f"{source}_d", f"{weight}_d"], [result]))
    nodes.append(onnx.helper.make_node("QuantizeLinear", ["o", "s", "z"], ["o_q"]))
    nodes.append(onnx.helper.make_node("DequantizeLinear", ["o_q", "s", "z"], ["y"]))
    arrays = {name: np.asarray(array) for name, array in constants.items()}
    path = tmp_path_factory.mktemp("qdq") / "two.onnx"
    onnx.save(make_onnx(nodes, {"x": (1, 8, 4, 4)}, {"y": (1, 8, 4, 4)}, arrays), path)
    return path


def test_int8_onnx_runs_exactly(two_linear: Path) -> None:
    """Weights over the whole range saturate default kernels without VNNI; a shared zero point breaks exact ones."""
    x = np.random.default_rng(4).uniform(-6, 6, (1, 8, 4, 4)).astype(np.float32)
    session = load("onnxruntime", two_linear)
    answer, inner = session.run({"x": x})["y"], session.intermediates({"x": x})
    assert np.abs(answer - inner["y"]).max() <= 0.05 * 1.001  # one step
    assert np.abs(answer).max() > 5
    np.testing.assert_array_equal(inner["h"], inner["h_d"])  # what its readers see
    steps = inner["h"] / np.float32(0.05)
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-4)


def test_layers_may_share_a_quantized_weight(make_onnx: Any, tmp_path: Path) -> None:
    import onnx
    from onnx.reference import ReferenceEvaluator

    rng = np.random.default_rng(5)
    codes = {"w": rng.integers(-127, 128, (8, 8, 1, 1)).astype(np.int8), "z": np.zeros(8, np.int8)}
    arrays = codes | {"s": np.full(8, 0.004, np.float32), "b": rng.standard_normal(8).astype(np.float32)}
    nodes = [onnx.helper.make_node("DequantizeLinear", ["w", "s", "z"], ["w_d"], axis=0)]
    for source, result in (("x", "h"), ("r", "y")):
        nodes.append(onnx.helper.make_node("Conv", [source, "w_d", "b"], [result]))
    nodes.insert(2, onnx.helper.make_node("Relu", ["h"], ["r"]))
    path = tmp_path / "shared.onnx"
    onnx.save(make_onnx(nodes, {"x": (1, 8, 4, 4)}, {"y": (1, 8, 4, 4)}, arrays), path)
    x = rng.standard_normal((1, 8, 4, 4)).astype(np.float32)
    (wanted,) = ReferenceEvaluator(str(path)).run(None, {"x": x})
    np.testing.assert_allclose(load("onnxruntime", path).run({"x": x})["y"], wanted, atol=1e-5)


def test_untrusted_torch_is_not_run(tiny_torch: Path) -> None:
    with pytest.raises(NotTrusted):
        runtimes()["torch"].load(artifact_at(tiny_torch))


@pytest.mark.parametrize(("runtime", "name"), [("onnxruntime", "x.onnx"), ("litert", "x.tflite")])
def test_text_is_no_model(runtime: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("not a model")
    with pytest.raises(BadModel, match=name):
        load(runtime, tmp_path / name)


def test_micro_names_the_operator_that_it_lacks(tflite_file: Any, tmp_path: Path) -> None:
    file = tflite_file()
    x, y = file.tensor("x", (1, 2)), file.tensor("y", (1, 2))
    file.operator("GELU", [x], [y])
    with pytest.raises(BadModel, match="GELU"):
        load("tflite-micro", file.save(tmp_path / "gelu.tflite", [x], [y], None))


def test_fake_answers_alike_for_equal_inputs(tmp_path: Path) -> None:
    contract = Contract(
        (TensorInfo("x", (None, 2), "float32"),), (TensorInfo("y", (None, 5), file_dtype="int8", scale=0.5),)
    )
    path = tmp_path / "net.onnx"
    path.write_text(contract.to_json())
    session = load("fake", path)
    ones, zeros = np.ones((1, 2), np.float32), np.zeros((1, 2), np.float32)
    first = session.run({"x": ones})["y"]
    assert first.shape == (1, 5)
    np.testing.assert_array_equal(session.run({"x": ones})["y"], first)
    assert (session.run({"x": zeros})["y"] != first).any()
    with pytest.raises(BadInput):
        session.run({"z": ones})
    path.write_text("{}")
    with pytest.raises(BadModel, match="wants a contract"):
        load("fake", path)


def test_discovery() -> None:
    assert set(runtimes()) == {
        "onnxruntime", "torch", "litert", "tflite-runtime", "tflite-micro", "coreml", "mil-evaluator", "fake",
    }  # fmt: skip
    assert [r.name for r in runtimes().values() if Format.TFLITE in r.formats] == [
        "litert", "tflite-runtime", "tflite-micro",
    ]  # fmt: skip
    installed = [runtime for runtime in runtimes().values() if runtime.missing() is None]
    assert all(runtime.version() for runtime in installed)


def test_pick_prefers_names_and_explains(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen, _ = pick(Format.TFLITE)
    named, _ = pick(Format.TFLITE, "tflite-micro")
    micro, _ = pick(Format.TFLM)
    assert chosen is runtimes()["litert"]
    assert named is micro is runtimes()["tflite-micro"]
    assert pick(Format.ONNX, "fake")[0] is runtimes()["fake"]
    assert pick(Format.ONNX, "litert") == (None, "no runtime for onnx is named 'litert'")
    monkeypatch.setattr(sys, "platform", "linux")
    assert pick(Format.COREML)[0] is runtimes()["mil-evaluator"]
    nobody, reason = pick(Format.COREML, timed=True)
    assert nobody is None
    assert reason.startswith("coreml: Core ML runs on macOS only; this is linux: measure this file on a Mac; ")
    assert reason.endswith("not times: CPU semantics by edgewright's evaluator, not the Neural Engine")


def test_absent_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    for runtime in runtimes().values():
        module = sys.modules[type(runtime).__module__]
        if hasattr(module, "find_spec"):
            monkeypatch.setattr(module, "find_spec", lambda _name: None)
    reasons = {name: runtime.missing() for name, runtime in runtimes().items()}
    assert reasons.pop("fake") is None
    assert reasons["torch"] == "needs torch, safetensors: pip install 'edgewright[torch]'"
    assert all(reason and reason.startswith("needs ") and "pip install" in reason for reason in reasons.values())


def test_tflite_runtime_needs_numpy_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(legacy.np, "__version__", "2.4.0")
    assert legacy.RUNTIME.missing() == "needs numpy<2, this is 2.4.0: pip install 'numpy<2', or use litert"


def test_importing_the_runtimes_is_cheap() -> None:
    code = (
        "import sys; from edgewright.runtimes.runtime import runtimes; runtimes();"
        "heavy = {'torch', 'onnx', 'onnx_ir', 'onnxscript', 'onnxruntime', 'coremltools', 'ai_edge_litert',"
        "'tflite_runtime', 'tflite_micro', 'flatbuffers', 'google.protobuf'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
