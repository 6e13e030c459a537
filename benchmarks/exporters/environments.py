"""Virtual environments of the converters that are measured against, each made once, with the versions named here."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from edgewright.errors import BadInput

OURS, TORCH = "edgewright", "torch"
OURS_MIXED = "edgewright mixed"
"""Stands in for our int8 file where the network is refused as int8: int8 but for what would spoil its answers."""

TAIL = 300


@dataclass(frozen=True)
class Environment:
    """`installs`: what pip installs, one call after the other. `python` is (major, minor)."""

    python: tuple[int, int]
    installs: Sequence[Sequence[str]]


PEERS: Mapping[str, Environment] = MappingProxyType(
    {
        "onnx2tf": Environment((3, 12), [["onnx2tf==2.6.9"]]),
        "litert-torch": Environment(
            (3, 11), [["torch==2.13.0"], ["litert-torch==0.10.0", "ai-edge-quantizer==0.10.0"]]
        ),
    }
)
DRIVERS: Mapping[str, str] = MappingProxyType(
    {OURS: "by_edgewright", TORCH: "by_torch", "onnx2tf": "by_onnx2tf", "litert-torch": "by_litert_torch"}
)
"""Converter → its module in `drivers`. `torch` makes the ONNX files that all start from."""


def interpreter_of(converter: str, folder: Path) -> Path:
    """The Python that has the converter; its environment is made below `folder` when it is not there yet.

    Raises BadInput with the reason when it cannot be made.
    """
    if converter in (OURS, TORCH):
        return Path(sys.executable)
    made, wanted = folder / converter, PEERS[converter]
    python, ready = made / "bin" / "python", made / ".ready"
    if not ready.exists():
        shutil.rmtree(made, ignore_errors=True)
        _run([find_python(wanted.python), "-m", "venv", str(made)])
        for packages in wanted.installs:
            _run([str(python), "-m", "pip", "install", "--quiet", *packages])
        ready.touch()
    return python.absolute()


def find_python(version: tuple[int, int]) -> str:
    """A Python of this version: this one, on the PATH, of pyenv or of uv. Raises BadInput when there is none."""
    name = f"python{version[0]}.{version[1]}"
    if sys.version_info[:2] == version:
        return sys.executable
    below = (Path.home() / ".pyenv" / "versions", Path.home() / ".local" / "share" / "uv" / "python")
    places = [name, *(str(path) for folder in below for path in sorted(folder.glob(f"*/bin/{name}")))]
    for place in places:
        found = shutil.which(place)
        if found and subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode == 0:
            return found
    raise BadInput(f"needs Python {version[0]}.{version[1]}, which is not here: put {name} on the PATH")


def _run(command: Sequence[str]) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BadInput(f"{' '.join(command[1:])} failed: {' '.join(done.stderr.split())[-TAIL:]}")
