"""A torch artifact → parameters and their dtypes, from the safetensors header. Its operators exist only when it runs.

The header: 8 bytes little-endian length, then JSON of name → {dtype, shape, data_offsets}
(https://github.com/huggingface/safetensors, "Format"). Nothing of torch is imported, no code runs.
"""

import json
import struct
from collections import Counter
from pathlib import Path
from typing import Any

from edgewright.devices.spec import Format, Precision
from edgewright.errors import BadInput, BadModel
from edgewright.runtimes.artifact import files_of
from edgewright.runtimes.contract import Contract
from edgewright.runtimes.read.model import Model, Tensor

WORDS = {"F": "float", "BF": "bfloat", "I": "int", "U": "uint"}


def read_torch(path: Path) -> Model:
    """Raises BadModel on a damaged folder, and on a `.pt2`."""
    if path.suffix == ".pt2":
        raise BadModel(f"{path}: what a .pt2 holds cannot be told without running it: convert it to ONNX and read that")
    tensors = _tensors(path / "weights.safetensors")
    try:
        raw = json.loads((path / "artifact.json").read_text())
        contract = Contract.from_json(json.dumps(raw["contract"]))
    except (OSError, ValueError, KeyError, TypeError, BadInput) as error:
        raise BadModel(f"{path}: no readable artifact.json ({error})") from None
    bytes_by_dtype: Counter[str] = Counter()
    for tensor in tensors.values():
        bytes_by_dtype[tensor.dtype] += tensor.bytes
    half = max(bytes_by_dtype, key=lambda dtype: bytes_by_dtype[dtype], default="") in ("float16", "bfloat16")
    return Model(
        format=Format.TORCH,
        precision=Precision.FLOAT16 if half else Precision.FLOAT32,
        ops=(),
        tensors=tensors,
        inputs=tuple(info.name for info in contract.inputs),
        outputs=tuple(info.name for info in contract.outputs),
        contract=contract,
        size_bytes=sum(file.stat().st_size for file in files_of(path)),
        metadata={"factory": str(raw.get("factory", ""))},
    )


def _tensors(file: Path) -> dict[str, Tensor]:
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > file.stat().st_size - 8:
                raise ValueError(f"a header of {length} bytes")
            header: dict[str, Any] = json.loads(stream.read(length))
        rows = {name: row for name, row in header.items() if name != "__metadata__"}
        return {name: _tensor(name, row) for name, row in rows.items()}
    except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
        raise BadModel(f"{file}: not readable as safetensors ({error})") from None


def _tensor(name: str, row: dict[str, Any]) -> Tensor:
    start, end = row["data_offsets"]
    word = str(row["dtype"]).rstrip("0123456789")
    dtype = WORDS[word] + row["dtype"].removeprefix(word) if word in WORDS else row["dtype"].lower()
    return Tensor(name, tuple(int(length) for length in row["shape"]), dtype, int(end) - int(start), True)
