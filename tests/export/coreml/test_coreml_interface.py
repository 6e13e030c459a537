"""What an app sees: images, classes, float16 ends, and what a package says of itself."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import nn

from edgewright import api
from edgewright.errors import BadInput, BadModel
from edgewright.export.coreml.convert import convert, coreml_int8_weights
from edgewright.export.coreml.options import CoremlOptions
from edgewright.export.metadata import Metadata
from edgewright.export.onnx.quantize.weight_only import Int8WeightOptions, int8_weights
from edgewright.export.steps import Job
from edgewright.export.verify import snr_db
from edgewright.runtimes.artifact import artifact_at, digest_of
from edgewright.runtimes.contract import CONTRACT_KEY, Contract
from edgewright.runtimes.mil.session import MilSession
from edgewright.runtimes.module.preprocess import Preprocess, read_preprocess
from edgewright.runtimes.read import read
from tests.export.coreml.packages import op_types, operations, read_spec

Array = NDArray[Any]
PIXELS = Preprocess(1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "uint8")
LABELS = ("cat", "dog", "newt")


def saved(folder: Path, graph: str, constants: dict[str, Array] | None = None) -> Path:
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]> {graph}')
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in (constants or {}).items())
    path = folder / "model.onnx"
    onnx.save(onnx.shape_inference.infer_shapes(model, strict_mode=True), path)
    return path


def photo_net(folder: Path, channels: int = 3, padding: int = 1) -> tuple[Path, nn.Module]:
    """A float classifier; with padding at its border a mean may not be folded into the first convolution."""
    torch.manual_seed(0)
    weights = nn.Conv2d(channels, 4, 3, stride=2, padding=padding), nn.Linear(4, 3)
    constants = {f"p{i}": p.detach().numpy() for i, p in enumerate(p for layer in weights for p in layer.parameters())}
    graph = f"""g (float[1,{channels},16,24] photo) => (float[1,3] scores) {{
        a = Conv <pads = {[padding] * 4}, strides = [2, 2]> (photo, p0, p1) b = Relu (a) c = GlobalAveragePool (b)
        d = Flatten (c) e = Gemm <transB = 1> (d, p2, p3) scores = Softmax (e)
    }}"""
    pooled = nn.Sequential(weights[0], nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), weights[1], nn.Softmax(-1))
    return saved(folder, graph, constants), pooled.eval()


def pixels(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    return np.random.default_rng(2).integers(0, 256, shape, np.uint8)


def with_pixels(
    folder: Path, channels: int = 3, preprocess: Preprocess = PIXELS, padding: int = 1
) -> tuple[Path, nn.Module]:
    """The clean form of a file that takes uint8, and the network behind its preprocessing."""
    path, network = photo_net(folder, channels, padding)
    done = api.convert(str(path), folder / "clean.onnx", preprocess=preprocess, store=folder / "store")
    return done.out, network


def expected(network: nn.Module, x: NDArray[np.uint8]) -> Array:
    mean, std = (torch.tensor(values).reshape(1, -1, 1, 1) for values in (PIXELS.mean, PIXELS.std))
    with torch.inference_mode():
        answer: Array = network((torch.from_numpy(x).float() / 255 - mean) / std).numpy()
    return answer


@pytest.mark.parametrize(("color", "code"), [("RGB", 20), ("BGR", 30)])
@pytest.mark.parametrize(("compute", "least_db"), [(np.float32, 100.0), (np.float16, 45.0)])
def test_an_image_of_bytes_answers_as_the_float_network_behind_its_preprocessing(
    color: str, code: int, compute: type[np.floating[Any]], least_db: float, tmp_path: Path
) -> None:
    """Each channel's own deviation is inside the program, which an image feature's one scale could not say."""
    clean, network = with_pixels(tmp_path)
    out = tmp_path / "m.mlpackage"
    notes = convert(clean, out, CoremlOptions(image=color), compute)
    feature = read_spec(out).description.input[0]
    kind = feature.type.imageType
    assert (feature.name, feature.type.WhichOneof("Type")) == ("photo", "imageType")
    assert (kind.width, kind.height, kind.colorSpace) == (24, 16, code)
    assert notes["images"] == {"photo": color}
    session, x = MilSession(out), pixels((1, 3, 16, 24))
    info = session.contract.inputs[0]
    assert (info.dtype, info.file_dtype, info.image) == ("uint8", "float32", color)
    assert snr_db(expected(network, x), session.run({"photo": x})["scores"]) > least_db
    assert session.program.inputs[0].dtype == "float32"
    assert op_types(out).count("cast") == (0 if compute is np.float32 else 2)


@pytest.mark.parametrize(("padding", "kept"), [(0, []), (1, ["add"])])
def test_normalization_is_part_of_the_first_convolution(padding: int, kept: list[str], tmp_path: Path) -> None:
    """Deviations always, means where no zeros lie around the image."""
    clean, network = with_pixels(tmp_path, padding=padding)
    out, x = tmp_path / "m.mlpackage", pixels((1, 3, 16, 24))
    convert(clean, out, CoremlOptions(image="RGB"), np.float32)
    assert op_types(out)[: len(kept) + 1] == [*kept, "conv"]
    assert "mul" not in op_types(out)
    assert snr_db(expected(network, x), MilSession(out).run({"photo": x})["scores"]) > 100
    coded, small = tmp_path / "w.onnx", tmp_path / "w.mlpackage"
    int8_weights(artifact_at(clean), coded, Job(), Int8WeightOptions(smallest=1))
    coreml_int8_weights(artifact_at(coded), small, Job(), CoremlOptions(image="RGB"))
    arithmetic = [op for op in op_types(small) if op in ("add", "mul", "conv")]
    assert arithmetic == [*kept, "conv"]
    assert snr_db(expected(network, x), MilSession(small).run({"photo": x})["scores"]) > 35


def test_a_gray_image(tmp_path: Path) -> None:
    clean, _ = with_pixels(tmp_path, 1, Preprocess(1 / 127.5, (1.0,), (1.0,), "uint8"))
    out = tmp_path / "m.mlpackage"
    convert(clean, out, CoremlOptions(image="photo=GRAYSCALE"), np.float32)
    assert read_spec(out).description.input[0].type.imageType.colorSpace == 10
    answers = MilSession(out).run({"photo": pixels((1, 1, 16, 24))})
    np.testing.assert_allclose(answers["scores"].sum(), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("image", "problem"),
    [
        ("RGBA", "unknown image 'RGBA'"),
        ("picture=RGB", "say which input, as in photo=RGB"),
        ("GRAYSCALE", r"shape \[1, 3, 16, 24\]; GRAYSCALE images are 1×1×height×width"),
    ],
)
def test_what_is_no_image_is_refused(image: str, problem: str, tmp_path: Path) -> None:
    clean, _ = with_pixels(tmp_path)
    with pytest.raises(BadInput, match=problem):
        convert(clean, tmp_path / "m.mlpackage", CoremlOptions(image=image), np.float32)


def test_floats_are_no_pixels_and_bytes_are_not_computed_with(tmp_path: Path) -> None:
    path, _ = photo_net(tmp_path)
    with pytest.raises(BadInput, match=r"input 'photo' is float32, images hold uint8 pixels: .*dtype=uint8"):
        convert(path, tmp_path / "m.mlpackage", CoremlOptions(image="RGB"), np.float32)
    wrapping = saved(tmp_path, "g (uint8[1,3,4,4] x) => (uint8[4,4,3,1] y) { y = Transpose (x) }")
    with pytest.raises(BadModel, match="the image 'x' is read by Transpose: cast it to float first"):
        convert(wrapping, tmp_path / "m.mlpackage", CoremlOptions(image="RGB"), np.float32)


def test_images_of_several_sizes(tmp_path: Path) -> None:
    graph = """g (uint8[1,3,H,W] x) => (float[1,3,H,W] y) { a = Cast <to = 1> (x) y = Relu (a) }"""
    path = saved(tmp_path, graph)
    for text, field in (
        ((1, 3, "16?8..32", "24?8..32"), "imageSizeRange"),
        ([(1, 3, 16, 24), (1, 3, 32, 48)], "enumeratedSizes"),
    ):
        done = api.convert(
            str(path), tmp_path / f"{field}.mlpackage", image="RGB", shapes={"x": text}, store=tmp_path / "store"
        )
        kind = read_spec(done.out).description.input[0].type.imageType
        assert (kind.height, kind.width, kind.WhichOneof("SizeFlexibility")) == (16, 24, field)
        x = pixels((1, 3, 32, 48 if field == "enumeratedSizes" else 8))
        assert np.array_equal(MilSession(done.out).run({"x": x})["y"], x)
    sides = read_spec(tmp_path / "imageSizeRange.mlpackage").description.input[0].type.imageType.imageSizeRange
    assert [(side.lowerBound, side.upperBound) for side in (sides.heightRange, sides.widthRange)] == [(8, 32), (8, 32)]


@pytest.mark.parametrize("io", ["float32", "float16"])
@pytest.mark.parametrize("compute", [np.float32, np.float16])
def test_labels_make_a_classifier_whose_scores_stay(compute: type[np.floating[Any]], io: str, tmp_path: Path) -> None:
    path, network = photo_net(tmp_path)
    out = tmp_path / "m.mlpackage"
    notes = convert(path, out, CoremlOptions(io=io, metadata=Metadata(labels=LABELS)), compute)
    description = read_spec(out).description
    assert [feature.name for feature in description.output] == ["classLabel", "classLabel_probs", "scores"]
    assert [feature.type.WhichOneof("Type") for feature in description.output] == [
        "stringType",
        "dictionaryType",
        "multiArrayType",
    ]
    assert (description.predictedFeatureName, description.predictedProbabilitiesName) == (
        "classLabel",
        "classLabel_probs",
    )
    scores = description.output[2].type.multiArrayType
    assert list(scores.shape) == [1, 3]
    assert type(scores).ArrayDataType.Name(scores.dataType) == io.upper()
    assert notes["classifier"] == "scores"
    session, x = MilSession(out), np.random.default_rng(0).standard_normal((1, 3, 16, 24)).astype(np.float32)
    assert session.contract.added == ("classLabel", "classLabel_probs")
    found = session.evaluate({"photo": x}).outputs
    with torch.inference_mode():
        reference = network(torch.from_numpy(x)).numpy()
    assert list(session.run({"photo": x})) == ["scores"]
    np.testing.assert_allclose(
        session.run({"photo": x})["scores"], reference, atol=2e-3 if compute == np.float16 else 3e-4
    )
    assert found["classLabel"] == LABELS[int(reference.argmax())]
    assert found["classLabel_probs"] == dict(zip(LABELS, found["scores"][0].astype(float).tolist(), strict=True))
    assert read(out).contract == session.contract


def test_labels_that_name_the_classes_of_each_pixel_are_kept_as_text(tmp_path: Path) -> None:
    path = saved(tmp_path, "g (float[1,3,4,4] x) => (float[1,3,4,4] y) { y = Softmax <axis = 1> (x) }")
    out = tmp_path / "m.mlpackage"
    notes = convert(path, out, CoremlOptions(metadata=Metadata(labels=LABELS)), np.float32)
    description = read_spec(out).description
    assert notes["classifier"] is None
    assert [feature.name for feature in description.output] == ["y"]
    assert json.loads(description.metadata.userDefined["labels"]) == list(LABELS)


@pytest.mark.parametrize(
    ("metadata", "problem"),
    [
        (Metadata(labels=("a", "b")), r"2 labels fit no output: scores \[1, 3\]"),
        (Metadata(labels=("a", "a", "b")), "each must differ; twice: a"),
        (Metadata(tensors={"phto": "a photo"}), "no input or output 'phto'; did you mean 'photo'"),
        (Metadata(user={"edgewright.contract": "mine"}), "'edgewright.contract' is edgewright's own"),
    ],
)
def test_metadata_that_does_not_fit_is_refused(metadata: Metadata, problem: str, tmp_path: Path) -> None:
    path, _ = photo_net(tmp_path)
    with pytest.raises(BadInput, match=problem):
        convert(path, tmp_path / "m.mlpackage", CoremlOptions(metadata=metadata), np.float32)


def test_float16_ends_are_held_so_and_nothing_else_changes(tmp_path: Path) -> None:
    path, _ = photo_net(tmp_path)
    plain, half, exact = (tmp_path / f"{name}.mlpackage" for name in ("plain", "half", "exact"))
    convert(path, plain, CoremlOptions(), np.float16)
    convert(path, half, CoremlOptions(io="float16"), np.float16)
    convert(path, exact, CoremlOptions(io="float16"), np.float32)
    for out, kind in ((plain, "FLOAT32"), (half, "FLOAT16"), (exact, "FLOAT16")):
        description = read_spec(out).description
        arrays = [feature.type.multiArrayType for feature in (*description.input, *description.output)]
        assert [type(array).ArrayDataType.Name(array.dataType) for array in arrays] == [kind, kind]
    assert [op_types(out).count("cast") for out in (plain, half, exact)] == [2, 0, 2]
    x = np.random.default_rng(0).standard_normal((1, 3, 16, 24)).astype(np.float16).astype(np.float32)
    session = MilSession(half)
    assert [info.file_dtype for info in (*session.contract.inputs, *session.contract.outputs)] == ["float16"] * 2
    answers = session.run({"photo": x})["scores"]
    assert answers.dtype == np.float32
    np.testing.assert_array_equal(answers, MilSession(plain).run({"photo": x})["scores"])
    with pytest.raises(BadInput, match="need target iOS16 / watchOS9 or later, not watchOS8"):
        CoremlOptions("watchOS8", io="float16")
    with pytest.raises(BadInput, match="unknown io 'float64'"):
        CoremlOptions(io="float64")


def test_a_package_says_who_made_it_of_what(tmp_path: Path) -> None:
    path, _ = photo_net(tmp_path)
    metadata = Metadata(
        name="Pets",
        description="which pet a photo shows",
        version="1.2",
        author="A. Uthor",
        license="MIT",
        mean=(0.5,),
        std=(0.25,),
        tensors={"photo": "RGB, channels first", "scores": "probability of each pet"},
        user={"dataset": "pets-3"},
    )
    out = tmp_path / "m.mlpackage"
    convert(path, out, CoremlOptions(author="Somebody else", metadata=metadata), np.float32)
    description = read_spec(out).description
    about = description.metadata
    assert (about.author, about.license, about.versionString) == ("Somebody else", "MIT", "1.2")
    assert about.shortDescription == "Pets: which pet a photo shows"
    assert [feature.shortDescription for feature in (*description.input, *description.output)] == [
        "RGB, channels first",
        "probability of each pet",
    ]
    said = dict(about.userDefined)
    assert Contract.from_json(said.pop(CONTRACT_KEY)).inputs[0].name == "photo"
    assert json.loads(said.pop("normalization")) == {"mean": [0.5], "std": [0.25]}
    assert said == {
        "dataset": "pets-3",
        "edgewright.source_sha256": digest_of(path),
        "edgewright.version": said["edgewright.version"],
    }


def test_preprocessing_as_text() -> None:
    assert read_preprocess([]) is None
    assert read_preprocess(["dtype=uint8", "scale=0.5", "mean=1,2,3"]) == Preprocess(0.5, (1, 2, 3), (1,), "uint8")
    with pytest.raises(BadInput, match="did you mean 'mean'"):
        read_preprocess(["means=1"])
    with pytest.raises(BadInput, match=r"wanted numbers, as in std=0\.5"):
        read_preprocess(["std=a"])


def test_one_command_gives_a_classifier_of_images(tmp_path: Path) -> None:
    path, network = photo_net(tmp_path)
    (tmp_path / "labels.txt").write_text("".join(f"{label}\n" for label in LABELS))
    done = api.convert(
        str(path),
        tmp_path / "m.mlpackage",
        precision="float16",
        labels=tmp_path / "labels.txt",
        image="RGB",
        preprocess=PIXELS,
        io="float16",
        store=tmp_path / "store",
    )
    assert done.hop.verdict.vs_original is not None and done.hop.verdict.vs_original.snr_db > 40
    assert operations(done.out)[-1].type == "classify"
    x = pixels((1, 3, 16, 24))
    found = MilSession(done.out).evaluate({"photo": x}).outputs
    assert found["classLabel"] == LABELS[int(expected(network, x).argmax())]


@pytest.mark.parametrize(
    ("out", "choices", "problem"),
    [
        ("m.tflite", {"image": "RGB"}, "image inputs are for .mlpackage files, not for tflite:float32"),
        ("m.mlpackage", {"io": "int8"}, "takes and gives floats and int32: float32 or float16"),
        ("m.mlpackage", {"layout": "nhwc"}, "layout nhwc is for .tflite files"),
        ("m.onnx", {"shapes": {"photo": ("1?", 3, 16, 24)}}, "open lengths are for .tflite and .mlpackage files"),
    ],
)
def test_choices_of_another_format_are_refused(out: str, choices: dict[str, Any], problem: str, tmp_path: Path) -> None:
    path, _ = photo_net(tmp_path)
    with pytest.raises(BadInput, match=problem):
        api.convert(str(path), tmp_path / out, store=tmp_path / "store", **choices)
