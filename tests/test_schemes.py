"""Weight-only, dynamic and float16 schemes by the road that a user takes."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgewright.api.convert import convert
from edgewright.api.request import overlay
from edgewright.devices.spec import Precision
from edgewright.errors import NoPath
from edgewright.runtimes.read import read
from tests.models import samples

OVERFLOWING = (
    '<ir_version: 10, opset_import: ["" : 21]> net (float[1,64] x) => (float[1,64] y) <float big = {50000}> {'
    " a = Tanh(x) b = Add(a, x) c = Mul(b, big) d = Relu(c) e = Div(d, big) y = Add(e, a) }"
)


@pytest.mark.parametrize("precision", ["int8-weights", "int8-dynamic", "int4-weights"])
@pytest.mark.parametrize("suffix", [".onnx", ".tflite", ".mlpackage"])
def test_converting(precision: str, suffix: str, clean_models: Mapping[str, Path], tmp_path: Path) -> None:
    source, out = str(clean_models["watch_cnn"]), tmp_path / f"m{suffix}"
    if (precision, suffix) in (("int4-weights", ".tflite"), ("int8-dynamic", ".mlpackage")):
        with pytest.raises(NoPath, match=f"{precision}: no step makes it"):
            convert(source, out, precision=precision, store=tmp_path / "store")
        return
    np.savez(tmp_path / "data.npz", input=samples("watch_cnn", 64).numpy())
    data = str(tmp_path / "data.npz") if precision == "int4-weights" else None  # on noise its classes are close
    made = convert(source, out, data=data, precision=precision, store=tmp_path / "store")
    assert read(out).precision.value == precision
    assert made.hop.verdict.unverified is None
    assert read(out).parameter_bytes < 0.4 * read(clean_models["watch_cnn"]).parameter_bytes


def test_a_recipe_without_data_keeps_the_schemes_that_need_none(tmp_path: Path) -> None:
    recipe = tmp_path / "edgewright.toml"
    recipe.write_text(
        'model = "m.onnx"\ndevices = ["raspberry-pi-4"]\n'
        'precisions = ["int8", "int8-weights", "int8-dynamic", "int4-weights", "float16"]\n'
        "[options.int4-weights]\nblock_size = 16\nsmallest = 64\n[options.int8-weights]\nsmallest = 64\n"
    )
    asked = overlay(None, recipe, (), None, "auto")
    assert asked.precisions == (
        Precision.INT8_WEIGHTS, Precision.INT8_DYNAMIC, Precision.INT4_WEIGHTS, Precision.FLOAT16,
    )  # fmt: skip
    assert asked.options["int4-weights"].block_size == 16


def test_float16_uses_samples_where_there_are_any_and_the_store_knows_which(tmp_path: Path) -> None:
    source, out, store = tmp_path / "m.onnx", tmp_path / "half.onnx", tmp_path / "store"
    onnx.save(onnx.parser.parse_model(OVERFLOWING), source)
    x = np.random.default_rng(0).standard_normal((64, 64), np.float32)
    np.savez(tmp_path / "large.npz", x=4 * x)
    np.savez(tmp_path / "small.npz", x=x / 100)

    def kept(data: str | None) -> list[str]:
        path = None if data is None else str(tmp_path / data)
        made = convert(str(source), out, precision="float16", data=path, store=store)
        return [row["op"] for row in made.hop.notes["float32_ops"]]

    assert kept("large.npz") == ["Mul", "Relu", "Div"]
    assert kept("small.npz") == []
    assert kept(None) == []
