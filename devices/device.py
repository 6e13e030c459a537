"""A target device and its budget, read from one TOML file a device. Every number has its source and its standing."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from math import inf
from types import MappingProxyType
from typing import Any

from edgewright.devices.spec import Spec
from edgewright.errors import BadInput, BadProfile, nearest

STANDINGS = ("measured", "published", "derived", "assumed")
FIGURES = ("storage_bytes", "ram_bytes")


@dataclass(frozen=True)
class Figure:
    """A number with where it comes from: `standing` is measured, published (by its maker), derived or assumed."""

    value: float
    standing: str
    source: str


@dataclass(frozen=True)
class Budget:
    """Upper limits that a user sets; None: no limit. `accuracy_drop` is a fraction (0.01: one point)."""

    latency_ms: float | None = None
    ram_bytes: int | None = None
    size_bytes: int | None = None
    accuracy_drop: float | None = None


@dataclass(frozen=True)
class Device:
    """`accepts` lists what its runtime loads, best first; `weights_in_ram`: whether a model's bytes count as RAM."""

    name: str
    title: str
    runtime: str
    accepts: tuple[Spec, ...]
    weights_in_ram: bool
    storage_bytes: Figure
    ram_bytes: Figure
    cpu: str = ""
    notes: str = ""


@cache
def devices() -> Mapping[str, Device]:
    """Every device file of this folder, by name."""
    found = [read_device(file) for file in files(__package__).iterdir() if file.name.endswith(".toml")]
    return MappingProxyType({each.name: each for each in sorted(found, key=lambda each: each.name)})


def device(name: str) -> Device:
    """Raises BadInput naming the nearest devices."""
    if name not in devices():
        raise BadInput(f"unknown device {name!r}; {nearest(name, devices())} (see `edgewright devices`)")
    return devices()[name]


def read_device(path: Traversable) -> Device:
    """Strict: raises one BadProfile listing every unknown key, missing key, and badly formed figure."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise BadProfile(f"{path}: {error}") from None
    known = {field.name for field in fields(Device)} - {"name"}
    required = known - {"cpu", "notes"}
    problems = [f"unknown key {key!r}; {nearest(key, known)}" for key in raw if key not in known]
    problems += [f"missing key {key!r}" for key in sorted(required - set(raw))]
    problems += [text for key in FIGURES if key in raw for text in _figure_problems(key, raw[key])]
    problems += _type_problems(raw) + _accepts_problems(raw.get("accepts", []))
    if problems:
        raise BadProfile(f"{path}: " + "; ".join(problems))
    figures = {key: Figure(**raw[key]) for key in FIGURES}
    accepts = tuple(Spec.parse(text) for text in raw["accepts"])
    return Device(**(raw | figures | {"name": path.name.removesuffix(".toml"), "accepts": accepts}))


def _figure_problems(key: str, raw: Any) -> list[str]:
    if not isinstance(raw, dict) or set(raw) != {"value", "standing", "source"}:
        return [f"{key} must be {{ value, standing, source }}"]
    problems = []
    if raw["standing"] not in STANDINGS:
        problems.append(f"{key}.standing is {raw['standing']!r}; known: {', '.join(STANDINGS)}")
    if not isinstance(raw["value"], (int, float)) or isinstance(raw["value"], bool) or not 0 < raw["value"] < inf:
        problems.append(f"{key}.value must be a positive number")
    if not isinstance(raw["source"], str) or not raw["source"].strip():
        problems.append(f"{key}.source must say where the number comes from")
    return problems


def _type_problems(raw: Mapping[str, Any]) -> list[str]:
    wanted = {"title": str, "runtime": str, "cpu": str, "notes": str, "weights_in_ram": bool}
    return [
        f"{key} must be {'true or false' if kind is bool else 'text'}"
        for key, kind in wanted.items()
        if key in raw and not isinstance(raw[key], kind)
    ]


def _accepts_problems(accepts: Any) -> list[str]:
    if not isinstance(accepts, list) or not all(isinstance(text, str) for text in accepts):
        return ['accepts must be a list like ["tflite:int8"]']
    problems = []
    for text in accepts:
        try:
            Spec.parse(text)
        except BadInput as error:
            problems.append(f"accepts: {error}")
    return problems
