"""Device files: strict to read, every number with a source, and what the four devices say."""

import tomllib
from pathlib import Path

import pytest

from edgewright.devices.device import Device, device, devices, read_device
from edgewright.devices.spec import Format, Precision, Spec
from edgewright.errors import BadInput, BadProfile

GOOD = """
title = "A board"
runtime = "litert"
accepts = ["tflite:int8"]
weights_in_ram = true
storage_bytes = { value = 1000, standing = "measured", source = "its manual" }
ram_bytes = { value = 500, standing = "assumed", source = "half of it" }
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "board.toml"
    path.write_text(text)
    return path


def test_a_good_file_is_read(tmp_path: Path) -> None:
    board = read_device(written(tmp_path, GOOD))
    assert (board.name, board.accepts, board.cpu) == ("board", (Spec(Format.TFLITE, Precision.INT8),), "")
    assert (board.ram_bytes.value, board.ram_bytes.standing) == (500, "assumed")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("weights_in_ram", "weights_in_rom"), "unknown key 'weights_in_rom'; did you mean 'weights_in_ram'?"),
        (('title = "A board"', ""), "missing key 'title'"),
        (('title = "A board"', "title = 3"), "title must be text"),
        (("weights_in_ram = true", 'weights_in_ram = "yes"'), "weights_in_ram must be true or false"),
        (("tflite:int8", "tflite:int9"), "accepts: 'tflite:int9': unknown precision 'int9'; did you mean 'int8'"),
        (('accepts = ["tflite:int8"]', 'accepts = "tflite:int8"'), "accepts must be a list"),
        (("value = 1000", "value = -1"), "storage_bytes.value must be a positive number"),
        (("value = 1000", "value = nan"), "storage_bytes.value must be a positive number"),
        (("value = 1000", "value = true"), "storage_bytes.value must be a positive number"),
        (('"assumed"', '"guessed"'), "ram_bytes.standing is 'guessed'; known: measured, published, derived, assumed"),
        (('"its manual"', '" "'), "storage_bytes.source must say where the number comes from"),
        ((', source = "its manual"', ""), "storage_bytes must be { value, standing, source }"),
        (("{ value = 1000", "{ valu = 1000"), "storage_bytes must be { value, standing, source }"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, change: tuple[str, str], complaint: str) -> None:
    assert change[0] in GOOD
    path = written(tmp_path, GOOD.replace(*change))
    with pytest.raises(BadProfile) as caught:
        read_device(path)
    assert complaint in str(caught.value)
    assert str(path) in str(caught.value)


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("value = 500", "value = 0").replace('runtime = "litert"', "runtim = 1")
    with pytest.raises(BadProfile) as caught:
        read_device(written(tmp_path, text))
    for complaint in ("unknown key 'runtim'", "missing key 'runtime'", "ram_bytes.value"):
        assert complaint in str(caught.value)


def test_not_toml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadProfile, match=r"board\.toml"):
        read_device(written(tmp_path, "title = "))


def test_the_devices_of_this_issue() -> None:
    found = devices()
    assert {"apple-watch-s9", "wear-os-w5", "raspberry-pi-4", "nrf5340"} <= set(found)
    assert found["apple-watch-s9"].storage_bytes.value == 75e6
    assert found["wear-os-w5"].ram_bytes.value == 32 * 2**20
    assert found["nrf5340"].ram_bytes.value < 512 * 2**10
    assert found["nrf5340"].storage_bytes.value < 2**20
    assert [name for name, board in found.items() if not board.weights_in_ram] == ["nrf5340", "nucleo-l4r5zi"]


@pytest.mark.parametrize(
    ("name", "formats"),
    [
        ("apple-watch-s9", {"coreml"}),
        ("wear-os-w5", {"tflite", "tflm"}),
        ("raspberry-pi-4", {"tflite", "tflm", "onnx"}),
        ("nrf5340", {"tflite", "tflm"}),
        ("nucleo-l4r5zi", {"tflite", "tflm"}),
    ],
)
def test_what_a_device_loads(name: str, formats: set[str]) -> None:
    accepts = device(name).accepts
    assert {spec.format.value for spec in accepts} == formats
    assert len(set(accepts)) == len(accepts)
    assert any(spec.precision is Precision.INT8 for spec in accepts)


@pytest.mark.parametrize("board", devices().values(), ids=lambda board: board.name)
def test_sources_are_documents_and_unsure_numbers_say_assumed(board: Device) -> None:
    raw = tomllib.loads((Path(__file__).parents[2] / "devices" / f"{board.name}.toml").read_text())
    for figure in (raw["storage_bytes"], raw["ram_bytes"]):
        assert len(figure["source"]) > 20
        assert not figure["source"].startswith("/")
        if figure["standing"] == "published":
            assert "http" in figure["source"]
        if "assum" in figure["source"]:
            assert figure["standing"] == "assumed"


def test_an_unknown_device_names_the_nearest() -> None:
    with pytest.raises(BadInput, match=r"unknown device 'apple-watch'; did you mean 'apple-watch-s9'"):
        device("apple-watch")
