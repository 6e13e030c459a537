"""TFLite Model Metadata: read back through flatbuffers and zipfile alone, by the field numbers of tflite-support."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import onnx_ir as ir
import pytest
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import number_types as kinds
from flatbuffers.table import Table

from edgewright.errors import BadInput, BadModel
from edgewright.export.metadata import Metadata, read_labels
from edgewright.export.tflite.convert import convert
from edgewright.export.tflite.metadata import LABELS_FILE
from edgewright.runtimes.micro import arena_bytes
from edgewright.runtimes.read import read
from edgewright.runtimes.read.model_metadata import METADATA_KEY

Models = Mapping[str, Path]
SEVEN = ("rest", "walk", "run", "jump", "wave", "clap", "ü")
ALL = Metadata("Gestures", "of a watch", "v2", "E. Wright", "MIT", SEVEN, (0.5,), (0.25,))


def stated(content: bytes) -> Table:
    """The root of the metadata in a file."""
    file = schema.ModelT.InitFromPackedBuf(content, 0)
    [entry] = [entry for entry in file.metadata if entry.name.decode() == METADATA_KEY]
    body = bytearray(file.buffers[entry.buffer].data)
    assert body[4:8] == b"M001"
    return Table(body, flatbuffers.encode.Get(kinds.UOffsetTFlags.packer_type, body, 0))


def at(table: Table, slot: int) -> int:
    return int(table.Offset(4 + 2 * slot))


def text(table: Table, slot: int) -> str:
    return table.String(at(table, slot) + table.Pos).decode()


def child(table: Table, slot: int, index: int | None = None) -> Table:
    """A table in a field, or in the vector of a field."""
    if index is None:
        return Table(table.Bytes, table.Indirect(at(table, slot) + table.Pos))
    return Table(table.Bytes, table.Indirect(table.Vector(at(table, slot)) + 4 * index))


def floats(table: Table, slot: int) -> list[float]:
    start, count = table.Vector(at(table, slot)), table.VectorLen(at(table, slot))
    return [table.Get(kinds.Float32Flags, start + 4 * index) for index in range(count)]


def test_every_field_stands_where_the_schema_says(clean_models: Models) -> None:
    model = stated(convert(ir.load(clean_models["watch_cnn"]), metadata=ALL).content)
    assert [text(model, slot) for slot in (0, 1, 2, 4, 5, 7)] == [
        "Gestures", "of a watch", "v2", "E. Wright", "MIT", "1.0.0",
    ]  # fmt: skip
    graph = child(model, 3, 0)
    entry, result = child(graph, 2, 0), child(graph, 3, 0)
    assert (text(entry, 0), text(result, 0)) == ("input", "output")
    unit = child(entry, 4, 0)
    assert unit.Get(kinds.Int8Flags, at(unit, 0) + unit.Pos) == 1  # NormalizationOptions
    assert (floats(child(unit, 1), 0), floats(child(unit, 1), 1)) == ([0.5], [0.25])
    labels = child(result, 6, 0)
    assert text(labels, 0) == LABELS_FILE
    assert labels.Get(kinds.Int8Flags, at(labels, 2) + labels.Pos) == 2  # TENSOR_AXIS_LABELS


def test_images_say_so(clean_models: Models) -> None:
    content = convert(ir.load(clean_models["student_net"]), layout="nhwc", metadata=Metadata(name="x")).content
    image = child(child(child(child(stated(content), 3, 0), 2, 0), 3), 1)
    kind = child(child(child(stated(content), 3, 0), 2, 0), 3)
    assert kind.Get(kinds.Int8Flags, at(kind, 0) + kind.Pos) == 2  # ImageProperties
    assert image.Get(kinds.Int8Flags, at(image, 0) + image.Pos) == 1  # RGB


def test_labels_lie_behind_the_model_and_all_runtimes_still_load_it(
    int8_models: Models, probes: Mapping[str, Any], run: Any, tmp_path: Path
) -> None:
    plain = convert(ir.load(int8_models["watch_cnn"])).content
    content = convert(ir.load(int8_models["watch_cnn"]), metadata=ALL).content
    assert content == convert(ir.load(int8_models["watch_cnn"]), metadata=ALL).content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        [info] = archive.infolist()
        assert (info.filename, info.date_time[0], info.compress_type) == (LABELS_FILE, 1980, zipfile.ZIP_STORED)
        assert archive.read(LABELS_FILE).decode().splitlines() == list(SEVEN)
    feed = {"input": probes["watch_cnn"][:1]}
    for runtime in ("xnnpack", "builtin", "legacy", "micro"):
        assert np.array_equal(run(content, feed, runtime)["output"], run(plain, feed, runtime)["output"])
    (tmp_path / "m.tflite").write_bytes(content)
    assert arena_bytes(tmp_path / "m.tflite") < 20_000


def test_our_reader_says_the_same(clean_models: Models, tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(convert(ir.load(clean_models["watch_cnn"]), metadata=ALL).content)
    found = read(path).metadata
    assert found["name"] == "Gestures" and found["normalization"] == "(raw - 0.5) / 0.25"
    assert found["labels"] == "7 in labels.txt: rest, walk, run, jump, wave, …"
    path.write_bytes(path.read_bytes()[: path.read_bytes().index(b"PK\3\4")])
    with pytest.raises(BadModel, match=r"names labels\.txt, but no archive"):
        read(path)


def test_without_metadata_there_is_none(clean_models: Models) -> None:
    content = convert(ir.load(clean_models["watch_cnn"])).content
    assert METADATA_KEY.encode() not in content and not zipfile.is_zipfile(io.BytesIO(content))


def test_labels_and_means_must_fit(clean_models: Models) -> None:
    wrong = Metadata(labels=("a", "b"), mean=(0.0,) * 5, std=(1.0,) * 5)
    with pytest.raises(BadInput, match=r"2 labels fit no output .*output \[1, 7\]; 5 means fit no axis of the input"):
        convert(ir.load(clean_models["watch_cnn"]), metadata=wrong)
    with pytest.raises(BadInput, match=r"1 mean\(s\) but 2 std\(s\); std must be positive; .*line break"):
        Metadata(mean=(0.0,), std=(1.0, -1.0), labels=("a\nb",))


def test_a_file_of_labels(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("Straße\nzwei\n", encoding="utf-8")
    assert read_labels(tmp_path / "labels.txt") == ("Straße", "zwei")
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(BadInput, match="holds no labels"):
        read_labels(tmp_path / "empty.txt")
    with pytest.raises(BadInput, match="no file of labels"):
        read_labels(tmp_path / "absent.txt")
