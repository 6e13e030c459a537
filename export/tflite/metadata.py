"""TFLite Model Metadata, as Android's tools read it: name, author, labels, input normalization.

A flatbuffer ("M001") in the metadata entry `TFLITE_METADATA`, and the files that it names (labels.txt) as a zip behind
the model's own bytes, which the runtimes ignore. Schema: `metadata_schema.fbs` of tensorflow/tflite-support.
"""

import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from edgewright.errors import BadInput
from edgewright.export.metadata import Metadata
from edgewright.runtimes.contract import Contract, TensorInfo

if TYPE_CHECKING:
    import flatbuffers  # type: ignore[import-untyped]

LABELS_FILE = "labels.txt"
PARSER_VERSION = "1.0.0"  # the first parser knows every field written here
TENSOR_AXIS_LABELS = 2
FEATURE_PROPERTIES, IMAGE_PROPERTIES = 1, 2
NORMALIZATION_OPTIONS = 1
COLOR_SPACE = {3: 1, 1: 2}  # channels → RGB, GRAYSCALE
UNSET = 0  # no offset


def files_of(metadata: Metadata) -> dict[str, bytes]:
    """The associated files, by name."""
    return {LABELS_FILE: "".join(f"{label}\n" for label in metadata.labels).encode()} if metadata.labels else {}


def describe(metadata: Metadata, contract: Contract, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    """The flatbuffer, for a file that has these `inputs` and `outputs` in order; `contract` tells more of them.

    Raises one BadInput when no output has as many values along its last axis as there are labels, or the first input
    has no axis as long as the means are many.
    """
    import flatbuffers

    known = {info.name: info for info in (*contract.inputs, *contract.outputs)}
    taken, given = ([known.get(name, TensorInfo(name, ())) for name in names] for names in (inputs, outputs))
    labelled = next((info for info in given if _file_shape(info)[-1:] == (len(metadata.labels),)), None)
    _check_fit(metadata, taken, given, labelled)
    b = flatbuffers.Builder(1024)
    in_tables = [_input(b, info, metadata, normalized=index == 0) for index, info in enumerate(taken)]
    out_tables = [_output(b, info, metadata, labelled=bool(metadata.labels) and info is labelled) for info in given]
    subgraph = _table(b, {2: _tables(b, in_tables), 3: _tables(b, out_tables)})
    texts = (metadata.name, metadata.description, metadata.version, metadata.author, metadata.license, PARSER_VERSION)
    fields = dict(zip((0, 1, 2, 4, 5, 7), (_text(b, text) for text in texts), strict=True))
    b.Finish(_table(b, fields | {3: _tables(b, [subgraph])}), b"M001")
    return bytes(b.Output())


def attach(content: bytes, files: Mapping[str, bytes]) -> bytes:
    """The model with `files` behind it, uncompressed, as a zip whose offsets count from the model's first byte."""
    if not files:
        return content
    whole = io.BytesIO(content)
    with zipfile.ZipFile(whole, "a", zipfile.ZIP_STORED) as archive:
        for name, data in sorted(files.items()):
            entry = zipfile.ZipInfo(name)  # its date is 1980-01-01
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, data)
    return whole.getvalue()


def _check_fit(
    metadata: Metadata, inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo], labelled: TensorInfo | None
) -> None:
    def text(infos: Sequence[TensorInfo]) -> str:
        return ", ".join(f"{info.name} {list(info.shape)}".replace("None", "?") for info in infos)

    problems = []
    if metadata.labels and labelled is None:
        problems.append(f"{len(metadata.labels)} labels fit no output along its last axis: {text(outputs)}")
    if len(metadata.mean) > 1 and len(metadata.mean) not in inputs[0].shape[1:]:
        problems.append(f"{len(metadata.mean)} means fit no axis of the input {text(inputs[:1])}")
    if problems:
        raise BadInput("metadata: " + "; ".join(problems))


def _input(b: "flatbuffers.Builder", info: TensorInfo, metadata: Metadata, *, normalized: bool) -> int:
    units = UNSET
    if metadata.mean and normalized:
        options = _table(b, {0: _floats(b, metadata.mean), 1: _floats(b, metadata.std)})
        units = _tables(b, [_table(b, {1: options}, {0: NORMALIZATION_OPTIONS})])
    shape = _file_shape(info)
    image = len(shape) == 4 and shape[3] in COLOR_SPACE
    kind = _table(b, {}, {0: COLOR_SPACE[shape[3] or 0]} if image else {})
    content = _table(b, {1: kind}, {0: IMAGE_PROPERTIES if image else FEATURE_PROPERTIES})
    about = _text(b, metadata.tensors.get(info.name, ""))
    return _table(b, {0: _text(b, info.name), 1: about, 3: content, 4: units})


def _output(b: "flatbuffers.Builder", info: TensorInfo, metadata: Metadata, *, labelled: bool) -> int:
    content = _table(b, {1: _table(b, {})}, {0: FEATURE_PROPERTIES})
    files = UNSET
    if labelled:
        about = _text(b, "Names of the classes, one a line.")
        files = _tables(b, [_table(b, {0: _text(b, LABELS_FILE), 1: about}, {2: TENSOR_AXIS_LABELS})])
    about = _text(b, metadata.tensors.get(info.name, ""))
    return _table(b, {0: _text(b, info.name), 1: about, 3: content, 6: files})


def _file_shape(info: TensorInfo) -> tuple[int | None, ...]:
    return info.shape if info.permutation is None else tuple(info.shape[axis] for axis in info.permutation)


def _text(b: "flatbuffers.Builder", text: str) -> int:
    return int(b.CreateString(text)) if text else UNSET


def _floats(b: "flatbuffers.Builder", values: Sequence[float]) -> int:
    b.StartVector(4, len(values), 4)
    for value in reversed(values):
        b.PrependFloat32(value)
    return int(b.EndVector())


def _tables(b: "flatbuffers.Builder", offsets: Sequence[int]) -> int:
    b.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return int(b.EndVector())


def _table(b: "flatbuffers.Builder", offsets: Mapping[int, int], kinds: Mapping[int, int] | None = None) -> int:
    """`offsets` of strings, vectors and tables, and one-byte `kinds`, by the number of the field."""
    numbers = kinds or {}
    b.StartObject(max((*offsets, *numbers), default=-1) + 1)
    for slot, offset in offsets.items():
        b.PrependUOffsetTRelativeSlot(slot, offset, UNSET)
    for slot, number in numbers.items():
        b.PrependInt8Slot(slot, number, 0)
    return int(b.EndObject())
