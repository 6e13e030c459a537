"""What a step's result depends on in our own code: its source and every module of the package that it imports."""

import hashlib
import importlib.util
import platform
import re
from functools import cache
from pathlib import Path

PACKAGE = "edgewright"
_IMPORT = re.compile(r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+)?import[ \t]+(\([^)]*\)|.*)", re.MULTILINE)
"""`from (a.b) import ((c, d as e))`: parsing the files takes longer than converting a small network. The package spells
imports in no other way, and a sentence that looks like one only adds a name that is no module."""
_CPUINFO = Path("/proc/cpuinfo")


@cache
def source_digest(module: str) -> str:
    """sha256 over the files that `module` reaches by import statements, inside functions too."""
    total = hashlib.sha256()
    for name, file in sorted(sources(module).items()):
        total.update(name.encode() + b"\0" + file.read_bytes())
    return total.hexdigest()


@cache
def cpu_digest() -> str:
    """Of the processor's architecture and instruction sets: runtimes choose kernels, hence roundings, by them."""
    lines = _CPUINFO.read_text().splitlines() if _CPUINFO.exists() else []
    flags = sorted({line.partition(":")[2].strip() for line in lines if line.lower().startswith(("flags", "features"))})
    return hashlib.sha256(" ".join([platform.machine(), *flags]).encode()).hexdigest()


def sources(module: str) -> dict[str, Path]:
    """The package's modules on which `module` depends, itself included.

    A module with an `ops` folder beside it depends on all of it: rules are found by walking, not by import.
    """
    files: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        file = _file(name)
        if name in files or file is None:
            continue
        files[name] = file
        waiting += _imports(name, file, PACKAGE)
        waiting += [f"{name.rpartition('.')[0]}.ops.{sibling.stem}" for sibling in file.parent.glob("ops/*.py")]
    return files


@cache
def _file(module: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # `from package import name`, where the name is no module
        return None
    return Path(spec.origin) if spec is not None and spec.origin else None


@cache
def _imports(module: str, file: Path, package: str) -> tuple[str, ...]:
    found: list[str] = []
    for origin, names in _IMPORT.findall(file.read_text()):
        words = re.findall(r"[\w.]+", names)
        found += [origin, *(f"{origin}.{word}" for word in words)] if origin else words
    return tuple(name for name in found if name.partition(".")[0] == package and name != module)
