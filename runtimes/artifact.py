"""An artifact: one model file (or folder) with what it is and its digest."""

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from edgewright.devices.spec import Format, Precision, Spec
from edgewright.errors import BadInput


@dataclass(frozen=True)
class Artifact:
    """`path` is a file, or a folder for torch and Core ML. `trusted` permits code to run on opening (torch only)."""

    spec: Spec
    path: Path
    digest: str
    trusted: bool = False

    @property
    def size_bytes(self) -> int:
        return sum(file.stat().st_size for file in files_of(self.path))


def files_of(path: Path) -> list[Path]:
    """The files that make up an artifact, in a fixed order (ONNX external data lies beside and is not followed)."""
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    return [path]


def digest_of(path: Path) -> str:
    """sha256 over the relative names and bytes of the artifact's files, as hex."""
    total = hashlib.sha256()
    for file in files_of(path):
        name = file.relative_to(path).as_posix() if path.is_dir() else ""
        with file.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        total.update(f"{name}\0{content}\n".encode())
    return total.hexdigest()


def copy_artifact(path: Path, out: Path) -> None:
    """Copy an artifact's file or folder to `out`, which does not exist."""
    if path.is_dir():
        shutil.copytree(path, out)
    else:
        shutil.copyfile(path, out)


FORMAT_OF_SUFFIX = {
    ".onnx": Format.ONNX,
    ".tflite": Format.TFLITE,
    ".mlpackage": Format.COREML,
    ".torch": Format.TORCH,
    ".pt2": Format.TORCH,
}


def format_of(path: Path) -> Format:
    """By file name. Raises BadInput when the file is absent or its ending is not known."""
    if not path.exists():
        raise BadInput(f"{path}: no such file")
    if path.suffix not in FORMAT_OF_SUFFIX:
        raise BadInput(f"{path}: unknown kind of model; known endings: {', '.join(FORMAT_OF_SUFFIX)}")
    return FORMAT_OF_SUFFIX[path.suffix]


def artifact_at(path: Path, precision: Precision = Precision.FLOAT32, *, trusted: bool = False) -> Artifact:
    """Name a file that exists as an artifact; what precision it truly has is the business of `read`."""
    return Artifact(Spec(format_of(path), precision), path, digest_of(path), trusted)
