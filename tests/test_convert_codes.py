"""`convert` and `build` where the user says how integers are written: forms, and codes as inputs and outputs."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgewright import build, convert
from edgewright.devices.spec import Precision
from edgewright.errors import BadInput, BadModel, BadRecipe
from edgewright.recipe import read_recipe
from edgewright.runtimes.artifact import artifact_at
from edgewright.runtimes.read import read
from edgewright.runtimes.runtime import run_samples, runtimes

Probes = dict[str, NDArray[np.float32]]


@pytest.fixture(scope="module")
def place(
    clean_models: Mapping[str, Path], int8_models: Mapping[str, Path], probes: Probes,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:  # fmt: skip
    """A watch network in float and as int8 truth, its samples, and a store."""
    folder = tmp_path_factory.mktemp("codes")
    (folder / "net.onnx").write_bytes(clean_models["watch_cnn"].read_bytes())
    (folder / "truth.onnx").write_bytes(int8_models["watch_cnn"].read_bytes())
    rows = np.tile(probes["watch_cnn"], (8, 1, 1))
    rows += np.random.default_rng(0).normal(0, 0.1, rows.shape).astype(np.float32)
    np.savez(folder / "data.npz", input=rows)
    return folder


def answer(path: Path, runtime: str, probes: Probes) -> NDArray[np.float32]:
    session = runtimes()[runtime].load(artifact_at(path, Precision.INT8))
    return run_samples(session, {"input": probes["watch_cnn"]})["output"]


def test_a_truth_in_another_form_with_codes_at_its_ends(place: Path, probes: Probes) -> None:
    done = convert(str(place / "truth.onnx"), place / "a.onnx", form="u8u8", io="uint8", store=place / "store")
    assert [hop.step for hop in done.hops] == ["start", "recode"]
    assert {key: done.hop.notes[key] for key in ("form", "why", "io", "equal_probes")} == {
        "form": "u8u8", "why": "asked for", "io": "uint8", "equal_probes": 8,
    }  # fmt: skip
    assert done.hop.verdict.vs_parent is not None
    assert done.hop.verdict.vs_parent.max_abs == 0
    assert read(place / "a.onnx").metadata["edgewright.form"] == "u8u8"
    given, wanted = (answer(place / f"{name}.onnx", "onnxruntime", probes) for name in ("a", "truth"))
    assert np.array_equal(given, wanted)
    assert read(place / "a.onnx").contract.inputs[0].file_dtype == "uint8"


def test_from_float_for_this_processor(place: Path) -> None:
    done = convert(
        str(place / "net.onnx"), place / "b.onnx", form="auto", data=str(place / "data.npz"), store=place / "store"
    )
    assert [hop.step for hop in done.hops] == ["start", "import", "quantize", "recode"]
    assert done.hop.notes["form"] in ("s8s8", "u8s8", "u8u8")
    assert done.hop.notes["why"] != "asked for"


def test_tflite_with_codes(place: Path, probes: Probes) -> None:
    for io in ("float", "int8"):
        convert(str(place / "truth.onnx"), place / f"{io}.tflite", precision="int8", io=io, store=place / "store")
    assert [op.op_type for op in read(place / "int8.tflite").ops if "QUANTIZE" in op.op_type] == []
    given, wanted = (answer(place / f"{io}.tflite", "litert", probes) for io in ("int8", "float"))
    assert np.array_equal(given, wanted)


@pytest.mark.parametrize(
    ("source", "out", "options", "problem"),
    [
        ("truth", "x.tflite", {"form": "u8u8"}, "form is for int8 .onnx files, not for tflite:int8"),
        ("truth", "x.onnx", {"form": "u7"}, "form 'u7': known: auto, s8s8, u8s8, u8u8"),
        ("truth", "x.mlpackage", {"io": "int8"}, "a Core ML file takes and gives floats and int32"),
        ("truth", "x.onnx", {"io": "int16"}, "io 'int16': did you mean 'int8'"),
        ("truth", "x.onnx", {"fast_x86": True}, "convert from the float model"),
        (
            "net",
            "x.tflite",
            {"io": "int8", "precision": "float16"},
            "io int8 is for int8 files, not for tflite:float16",
        ),
        ("net", "x.onnx", {"fast_x86": True, "precision": "float16"}, "fast_x86 is a quantization to int8"),
    ],
)
def test_what_excludes_another(place: Path, source: str, out: str, options: dict[str, object], problem: str) -> None:
    with pytest.raises(BadInput, match=problem):
        convert(str(place / f"{source}.onnx"), place / out, store=place / "store", **options)  # type: ignore[arg-type]
    assert not (place / out).exists()


def test_codes_at_the_ends_are_the_end_of_the_road(place: Path) -> None:
    convert(str(place / "truth.onnx"), place / "ends.onnx", io="int8", store=place / "store")
    for name in ("x.tflite", "x.mlpackage"):
        with pytest.raises(BadInput, match=r"input, output hold\(s\) codes already: give the file with float"):
            convert(str(place / "ends.onnx"), place / name, precision="int8", store=place / "store")
    with pytest.raises(BadModel, match="cannot be recoded: input, output"):
        convert(str(place / "ends.onnx"), place / "x.onnx", form="u8u8", store=place / "store")


def test_a_recipe_asks_for_codes_and_the_manifest_shows_them(place: Path) -> None:
    recipe = 'model = "net.onnx"\ndata = "data.npz"\ndevices = ["wear-os-w5"]\nprecisions = ["int8"]\n'
    (place / "edgewright.toml").write_text(recipe + '[options.tflite-int8]\nio = "int8"\nlayout = "nhwc"\n')
    built = build(recipe=place / "edgewright.toml", out=place / "out", store=place / "store", bench=False)
    assert built.failures == ()
    manifest = json.loads((place / "out" / "manifest.json").read_text())
    shown = {each["name"]: each["io"] for each in manifest["artifacts"]}
    assert shown["onnx:int8"]["inputs"][0]["scale"] is None
    for end, name in (("inputs", "input"), ("outputs", "output")):
        (info,) = shown["tflite:int8"][end]
        assert (info["name"], info["dtype"], info["file_dtype"], info["permutation"]) == (name, "float32", "int8", None)
        assert info["scale"] > 0
        assert -128 <= info["zero_point"] <= 127
    (place / "edgewright.toml").write_text(recipe + '[options.tflite-int8]\nio = "int16"\n')
    with pytest.raises(BadRecipe, match="io 'int16': did you mean 'int8'"):
        read_recipe(place / "edgewright.toml")
