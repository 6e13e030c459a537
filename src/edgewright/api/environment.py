"""What edgewright has to work with here: packages, runtimes, steps, the store; and which operators a target takes."""

import platform
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from edgewright.devices.device import Device, device, devices
from edgewright.errors import BadInput, nearest
from edgewright.export.operators import Operator, Target, operators
from edgewright.export.steps import steps
from edgewright.export.store import Store
from edgewright.runtimes.runtime import runtimes

PACKAGES = (
    "numpy", "torch", "safetensors", "torch-pruning", "onnx", "onnx-ir", "onnxscript", "onnxruntime", "ai-edge-litert",
    "tflite-runtime", "tflite-micro", "coremltools", "pillow", "jinja2",
)  # fmt: skip
TARGETS = ("tflite", "coreml")


@dataclass(frozen=True)
class Health:
    """Versions by package (None: not installed); for each runtime and step why it cannot run here (None: it can)."""

    python: str
    packages: dict[str, str | None]
    runtimes: dict[str, str | None]
    steps: dict[str, str | None]
    store: Path
    store_bytes: int
    trimmed_bytes: int = 0


def doctor(*, store: Path | str | None = None, prune_bytes: int | None = None) -> Health:
    """Look at the environment; with `prune_bytes` first trim the store to that size, least recently used first."""
    place = Store(Path(store) if store else None)
    trimmed = place.trim(prune_bytes) if prune_bytes is not None else 0
    return Health(
        python=platform.python_version(),
        packages={name: _version(name) for name in PACKAGES},
        runtimes={name: runtime.missing() for name, runtime in runtimes().items()},
        steps={f"{step.source} → {step.target}": step.missing() for step in steps()},
        store=place.root,
        store_bytes=place.size_bytes(),
        trimmed_bytes=trimmed,
    )


def list_devices(name: str | None = None) -> list[Device]:
    """All devices, or the named one."""
    return [device(name)] if name else list(devices().values())


def ops(target: str) -> list[Operator]:
    """Every ONNX operator: how the target expresses it, or why it does not."""
    if target not in TARGETS:
        raise BadInput(f"unknown target {target!r}; {nearest(target, TARGETS)}")
    found: Target = import_module(f"edgewright.export.{target}.target").TARGET
    return operators(found)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
