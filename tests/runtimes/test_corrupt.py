"""Damaged files give BadModel: native code never sees them."""

import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgewright.errors import BadInput, BadModel, Error
from edgewright.runtimes.read import read
from edgewright.runtimes.tflite_view import open_tflite


def damaged(content: bytes, seed: int) -> bytes:
    """Cut off, or with a few bytes overwritten."""
    generator = np.random.default_rng(seed)
    if seed % 4 == 0:
        return content[: generator.integers(len(content))]
    changed = bytearray(content)
    for position in generator.integers(len(content), size=(1, 4, 16)[seed % 3]):
        changed[position] = generator.integers(256)
    return bytes(changed)


def test_every_damage_is_bad_model_or_harmless(tiny_tflite: Path, tmp_path: Path) -> None:
    content = tiny_tflite.read_bytes()
    path = tmp_path / "damaged.tflite"
    refused = 0
    for seed in range(400):
        path.write_bytes(damaged(content, seed))
        try:
            open_tflite(path)
        except BadModel as error:
            refused += 1
            assert str(error).startswith(f"{path}: damaged TFLite file: ")
    assert 150 < refused < 400
    path.write_bytes(content)
    assert len(open_tflite(path).main.operators) == 3


@pytest.mark.parametrize("fixture", ["tiny_onnx", "tiny_tflite"])
def test_reader_answers_or_refuses(fixture: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    source: Path = request.getfixturevalue(fixture)
    path = tmp_path / f"damaged{source.suffix}"
    refused = 0
    for seed in range(200):
        path.write_bytes(damaged(source.read_bytes(), seed))
        try:
            read(path)
        except BadInput:
            refused += 1
    assert 50 < refused < 200


def test_reader_refuses_an_operator_without_its_weights(make_onnx: Any, tmp_path: Path) -> None:
    node = onnx.helper.make_node("Conv", ["x"], ["y"])
    onnx.save(make_onnx([node], {"x": (1, 2, 4, 4)}, {"y": (1, 2, 4, 4)}, {}), tmp_path / "conv.onnx")
    with pytest.raises(BadModel, match="malformed onnx file"):
        read(tmp_path / "conv.onnx")


def test_truncated_files_never_reach_the_interpreter(tiny_tflite: Path, tmp_path: Path) -> None:
    content = tiny_tflite.read_bytes()
    paths = []
    for length in range(0, len(content), len(content) // 40):
        paths.append(tmp_path / f"{length}.tflite")
        paths[-1].write_bytes(content[:length])
    code = (
        "import sys\nfrom pathlib import Path\nfrom edgewright.errors import BadModel\n"
        "from edgewright.runtimes.artifact import artifact_at\nfrom edgewright.runtimes.runtime import runtimes\n"
        "for path in map(Path, sys.argv[1:]):\n"
        "    for name in ('litert', 'tflite-runtime', 'tflite-micro'):\n"
        "        try:\n            runtimes()[name].load(artifact_at(path))\n            print('loaded', path)\n"
        "        except BadModel:\n            print('refused')\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *map(str, paths)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["refused"] * 3 * len(paths)


def test_index_out_of_range_says_what(tflite_file: Any, tmp_path: Path) -> None:
    file = tflite_file()
    x, y = file.tensor("x", (1, 2)), file.tensor("y", (1, 2))
    file.operator("RELU", [x], [y + 7])
    with pytest.raises(BadModel, match="tensor refers to entry 8 of 2"):
        open_tflite(file.save(tmp_path / "index.tflite", [x], [y], None))


def test_constant_that_is_too_short_says_which(tflite_file: Any, tmp_path: Path) -> None:
    file = tflite_file()
    x, y = file.tensor("x", (1, 2)), file.tensor("y", (1, 2))
    file.operator("ADD", [x, file.tensor("half", (1, 2), data=np.zeros(1, np.float32))], [y])
    with pytest.raises(BadModel, match=r"tensor 'half' holds 4 bytes, its shape \[1, 2\] needs 8"):
        open_tflite(file.save(tmp_path / "short.tflite", [x], [y], None))


def with_external(model: Path, out: Path, location: str) -> Path:
    proto = onnx.load(model)
    tensor = next(tensor for tensor in proto.graph.initializer if tensor.name == "w")
    content = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    tensor.external_data.add(key="length", value=str(len(content)))
    out.write_bytes(proto.SerializeToString())
    target = out.parent / location
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(content)
    return out


def test_external_data_is_read_from_the_models_folder_alone(
    tiny_onnx: Path, tmp_path: Path, image: Any, expected: Any
) -> None:
    from edgewright.runtimes.artifact import artifact_at
    from edgewright.runtimes.runtime import runtimes

    folder = tmp_path / "model"
    folder.mkdir()
    load = runtimes()["onnxruntime"].load
    inside = with_external(tiny_onnx, folder / "inside.onnx", "weights.bin")
    np.testing.assert_allclose(load(artifact_at(inside)).run({"image": image})["scores"], expected, rtol=1e-5)
    assert read(inside).size_bytes == inside.stat().st_size + 3 * 2 * 9 * 4
    outside = with_external(tiny_onnx, folder / "outside.onnx", "../weights.bin")
    with pytest.raises(BadModel, match=r"'\.\./weights\.bin' lies outside the model's folder"):
        read(outside)
    with pytest.raises(BadModel):
        load(artifact_at(outside))


@pytest.mark.parametrize(
    ("name", "content"),
    [("x.onnx", b"\x08\x07garbage"), ("x.onnx", b""), ("x.tflite", b""), ("x.tflite", b"\x1c\0\0\0TFL3\0\0")],
)
def test_reader_refuses_rubbish(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadModel, match=name):
        read(tmp_path / name)


def test_reader_refuses_damaged_folders(tiny_torch: Path, tmp_path: Path) -> None:
    package = tmp_path / "x.mlpackage"
    package.mkdir()
    with pytest.raises(BadModel, match=r"no readable Manifest\.json"):
        read(package)
    entry = {"rootModelIdentifier": "a", "itemInfoEntries": {"a": {"path": "../../elsewhere"}}}
    (package / "Manifest.json").write_text(json.dumps(entry))
    with pytest.raises(BadModel, match="outside the package"):
        read(package)
    folder = tmp_path / "x.torch"
    folder.mkdir()
    weights = (tiny_torch / "weights.safetensors").read_bytes()
    for content in (b"", struct.pack("<Q", 1 << 40) + weights[8:], weights[:20]):
        (folder / "weights.safetensors").write_bytes(content)
        with pytest.raises(BadModel, match="not readable as safetensors"):
            read(folder)
    (folder / "weights.safetensors").write_bytes(weights)
    with pytest.raises(Error, match=r"no readable artifact\.json"):
        read(folder)
