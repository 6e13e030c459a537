"""What `inspect` says of a package: lengths, images, classes, texts."""

import json

import onnx
import onnx.parser
import pytest

GRAPH = """<ir_version: 10, opset_import: ["" : 21]> g (float[1,3,H,W] photo) => (float[1,3] scores) {
    a = GlobalAveragePool (photo) scores = Flatten (a) }"""
PIXELS = ("--preprocess", "dtype=uint8", "--preprocess", "scale=0.0039")


@pytest.mark.parametrize(
    ("lengths", "told"),
    [
        ("1,3,16?8..32,24", "1×3×8..32×24 uint8"),
        ("1,3,16,24|1,3,32,48", "1×3×16×24 or 1×3×32×48 uint8"),
        ("1,3,16,24", "1×3×16×24 uint8"),
    ],
)
def test_ranges_images_and_classes(call, tmp_path, lengths, told):
    source, labels, out = (tmp_path / name for name in ("m.onnx", "labels.txt", "m.mlpackage"))
    onnx.save(onnx.parser.parse_model(GRAPH), source)
    labels.write_text("cat\ndog\nnewt\n")
    code, _, err = call(
        "convert", source, out, "--shape", f"photo={lengths}", "--image", "RGB", "--labels", labels, *PIXELS,
        "--store", tmp_path / "store",
    )  # fmt: skip
    assert code == 0, err
    code, text, _ = call("inspect", out)
    assert code == 0
    assert f"input photo: {told}, stored as float32, an image in RGB\n" in text
    assert "added for apps: classLabel, classLabel_probs\n" in text
    assert "labels: 3: cat, dog, newt\n" in text
    code, text, _ = call("inspect", out, "--json")
    assert json.loads(text)["metadata"]["labels"] == "3: cat, dog, newt"
    assert json.loads(text)["contract"]["inputs"][0]["image"] == "RGB"
