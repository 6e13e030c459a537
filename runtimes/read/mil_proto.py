"""Core ML's protobuf messages and weight file, as ML programs hold them.

The weight file begins with a 64-byte header; each tensor has a 64-byte record (sentinel 0xDEADBEEF, dtype, bytes,
offset of its data) that the program refers to: coremltools, MILBlob/Blob/StorageFormat.hpp.
"""

import importlib
import importlib.util
import json
import math
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.errors import BadModel, MissingExtra
from edgewright.runtimes.dtypes import bits

PACKAGE = "_edgewright_coreml_proto"
SENTINEL = 0xDEADBEEF


def load_spec(package: Path) -> tuple[Any, Path]:
    """The model message of an `.mlpackage` and the folder that its weight paths are relative to. Raises BadModel."""
    file = _root_file(package)
    spec = _messages("Model_pb2").Model()  # first: it says so when coremltools, which brings protobuf, is missing
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        spec.ParseFromString(file.read_bytes())
    except (DecodeError, OSError) as error:
        raise BadModel(f"{package}: {file.name} is not readable ({error})") from None
    kind = spec.WhichOneof("Type")
    if kind != "mlProgram":
        raise BadModel(f"{package}: holds {kind or 'nothing'}; only ML programs are read (iOS 15 and later)")
    return spec, file.parent


def dtype_of(code: int) -> str:
    """A MIL dtype in the field's usual words, such as float16."""
    name: str = _messages("MIL_pb2").DataType.Name(code).lower()
    return name


def shape_of(tensor_type: Any) -> tuple[int | None, ...]:
    return tuple(
        dim.constant.size if dim.WhichOneof("dimension") == "constant" else None for dim in tensor_type.dimensions
    )


class Weights:
    """The weight files of one package: sizes and contents of values that lie in them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def stored_bytes(self, value: Any) -> int:
        """Bytes that a MIL value takes, in the weight file or in the program itself."""
        if value.WhichOneof("value") == "blobFileValue":
            return self._record(value.blobFileValue)[1]
        kind = value.type.tensorType
        return math.ceil(math.prod(n or 1 for n in shape_of(kind)) * bits(dtype_of(kind.dataType)) / 8)

    def content(self, value: Any) -> NDArray[np.uint8] | None:
        """The stored bytes; None where the program lists numbers. Raises BadModel on a damaged weight file."""
        if value.WhichOneof("value") == "blobFileValue":
            file, size, offset = self._record(value.blobFileValue)
            return np.fromfile(file, np.uint8, size, offset=offset)
        tensor = value.immediateValue.tensor
        return np.frombuffer(tensor.bytes.values, np.uint8) if tensor.WhichOneof("value") == "bytes" else None

    def numbers(self, value: Any) -> NDArray[Any]:
        """The value as a flat array. Raises BadModel on a damaged weight file."""
        raw = self.content(value)
        if raw is not None:
            dtype = np.dtype(dtype_of(value.type.tensorType.dataType))
            return raw[: len(raw) // dtype.itemsize * dtype.itemsize].view(dtype)
        tensor = value.immediateValue.tensor
        field = tensor.WhichOneof("value")
        return np.asarray(list(getattr(tensor, field).values) if field else [])

    def _record(self, blob: Any) -> tuple[Path, int, int]:
        """(file, bytes, offset of the data)"""
        file = self._folder.joinpath(*Path(blob.fileName.removeprefix("@model_path/")).parts).resolve()
        if self._folder.resolve() not in file.parents or not file.is_file():
            raise BadModel(f"{self._folder}: weight file {blob.fileName!r} is absent or outside the package")
        with file.open("rb") as stream:
            stream.seek(blob.offset)
            record = stream.read(24)
        sentinel, _dtype, size, offset = struct.unpack("<IIQQ", record) if len(record) == 24 else (0, 0, 0, 0)
        if sentinel != SENTINEL or offset + size > file.stat().st_size:
            raise BadModel(f"{file}: no weight record at offset {blob.offset}: the file is damaged")
        return file, size, offset


def _root_file(package: Path) -> Path:
    try:
        manifest = json.loads((package / "Manifest.json").read_text())
        entry: Mapping[str, str] = manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]
        file = (package / "Data" / entry["path"]).resolve()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadModel(f"{package}: no readable Manifest.json ({error})") from None
    if package.resolve() not in file.parents or not file.is_file():
        raise BadModel(f"{package}: its manifest names {entry['path']!r}, which is absent or outside the package")
    return file


def _messages(module: str) -> ModuleType:
    """A generated message module of coremltools, without importing coremltools: that takes seconds and all of torch.

    They import one another relatively, so their folder serves as a package of its own.
    """
    if PACKAGE not in sys.modules:
        found = importlib.util.find_spec("coremltools")
        if found is None or not found.submodule_search_locations:
            raise MissingExtra("coremltools", "coreml", "reading a Core ML package")
        folder = Path(found.submodule_search_locations[0]) / "proto"
        spec = importlib.util.spec_from_file_location(
            PACKAGE, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        assert spec is not None and spec.loader is not None
        sys.modules[PACKAGE] = package = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(package)
    return importlib.import_module(f"{PACKAGE}.{module}")
