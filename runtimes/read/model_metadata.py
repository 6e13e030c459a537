"""TFLite Model Metadata, read: what a file says of itself to Android's tools (schema: tflite-support, "M001")."""

import zipfile
from pathlib import Path

from edgewright.runtimes.flat_table import Corrupt, Table, read_at

METADATA_KEY = "TFLITE_METADATA"
TEXTS = {"name": 0, "description": 1, "version": 2, "author": 4, "license": 5}
SUBGRAPHS, INPUTS, OUTPUTS = 3, 2, 3  # fields of the model and of a subgraph
PROCESS_UNITS, FILES = 4, 6  # fields of a tensor
NORMALIZATION = 1
SHOWN_LABELS = 5


def model_metadata(content: bytes, path: Path) -> dict[str, str]:
    """What it states, as text: name, description, version, author, license, normalization, labels.

    Raises Corrupt when the flatbuffer is damaged or names a file that is not behind the model at `path`.
    """
    data = memoryview(content)
    if bytes(data[4:8]) != b"M001":
        raise Corrupt(f"its {METADATA_KEY} does not begin with the identifier M001")
    model = Table(data, read_at(data, "I", 0))
    found = {name: model.text(slot) for name, slot in TEXTS.items()}
    graphs = model.tables(SUBGRAPHS)
    for tensor in graphs[0].tables(INPUTS)[:1] if graphs else []:
        found["normalization"] = _normalization(tensor)
    files = [file.text(0) for graph in graphs for tensor in graph.tables(OUTPUTS) for file in tensor.tables(FILES)]
    found["labels"] = _labels(path, files[0]) if files else ""
    return {name: text for name, text in found.items() if text}


def _normalization(tensor: Table) -> str:
    for unit in tensor.tables(PROCESS_UNITS):
        options = unit.table(1)
        if unit.number(0, "b") == NORMALIZATION and options is not None:
            mean, std = ([f"{value:g}" for value in options.numbers(slot, "f4")] for slot in (0, 1))
            return f"(raw - {' '.join(mean)}) / {' '.join(std)}"
    return ""


def _labels(path: Path, name: str) -> str:
    if not zipfile.is_zipfile(path):
        raise Corrupt(f"its {METADATA_KEY} names {name}, but no archive is behind the model")
    with zipfile.ZipFile(path) as archive:
        if name not in archive.namelist():
            raise Corrupt(f"its {METADATA_KEY} names {name}, which is not in the archive behind the model")
        labels = archive.read(name).decode("utf-8", "replace").splitlines()
    more = ", …" if len(labels) > SHOWN_LABELS else ""
    return f"{len(labels)} in {name}: {', '.join(labels[:SHOWN_LABELS])}{more}"
