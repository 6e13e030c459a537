"""The files that are compared: of each network one a converter and precision, made when first asked for."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from edgewright.benchmarks.exporters.drivers.probe import Job
from edgewright.benchmarks.exporters.environments import OURS, OURS_MIXED, PEERS, TORCH
from edgewright.benchmarks.exporters.processes import converted
from edgewright.benchmarks.exporters.samples import fitted, smooth
from edgewright.errors import BadInput
from edgewright.runtimes.tflite_view import open_tflite

SHAPES: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "student_128": (3, 128, 128),
        "student_256": (3, 256, 256),
        "mobilenet_v2": (3, 224, 224),
        "resnet18": (3, 224, 224),
        "cnn_1d": (6, 100),
        "unet": (3, 128, 128),
        "gru": (49, 10),
        "lstm": (49, 10),
        "vit": (3, 64, 64),
    }
)
"""Network → the shape of one sample. (`networks` itself needs torch.)"""

PRECISIONS = ("float32", "float16", "int8-dynamic", "int8")
CALIBRATION, TEST = 16, 4


@dataclass(frozen=True)
class Network:
    """`folder` holds network.onnx, calibration.npy, test.npy, and a folder for each converter."""

    name: str
    folder: Path

    @property
    def onnx(self) -> Path:
        return self.folder / "network.onnx"

    @property
    def images(self) -> bool:
        return len(SHAPES[self.name]) == 3

    def samples(self, part: str) -> Path:
        return self.folder / f"{part}.npy"


class Files:
    """Makes and remembers: ours for this run, a peer's as long as its ONNX file is the same."""

    def __init__(self, out: Path, environments: Path, say: Callable[[str], None]) -> None:
        self.out = out
        self.say = say
        self.environments = environments
        self._networks: dict[str, Network] = {}
        self._made: dict[Path, Path | str] = {}

    def network(self, name: str) -> Network:
        """The network as ONNX, with its samples."""
        if name not in self._networks:
            network = Network(name, self.out / name)
            network.folder.mkdir(parents=True, exist_ok=True)
            _prepare(network, self.environments, self.say)
            self._networks[name] = network
        return self._networks[name]

    def file(self, network: Network, converter: str, precision: str, layout: str = "original") -> Path:
        """Raises BadInput with the converter's reason when it cannot make it. `layout` is a choice of ours."""
        suffix = "" if layout == "original" else f".{layout}"
        out = network.folder / converter / f"{precision}{suffix}.tflite"
        if out not in self._made:
            self._made[out] = self._known(network, converter, out) or self._make(
                network, converter, precision, layout, out
            )
        made = self._made[out]
        if isinstance(made, str):
            raise BadInput(made)
        return made

    def of_all(self, network: Network, precision: str) -> dict[str, Path | str]:
        """By converter: the file, or why there is none; `OURS_MIXED` too where ours has none as int8."""
        found = {name: self._or_reason(network, name, precision) for name in (OURS, *PEERS)}
        if precision == "int8" and isinstance(found[OURS], str):
            found[OURS_MIXED] = self._or_reason(network, OURS, "mixed")
        return found

    def ours(self, network: Network, precision: str, layout: str) -> Path:
        """The file of ours that is held against the peers'. Raises BadInput where there is none."""
        try:
            return self.file(network, OURS, precision, layout)
        except BadInput:
            if precision != "int8":
                raise
            return self.file(network, OURS, "mixed", layout)

    def _or_reason(self, network: Network, converter: str, precision: str) -> Path | str:
        try:
            return self.file(network, converter, precision)
        except BadInput as error:
            return str(error)

    def _known(self, network: Network, converter: str, out: Path) -> Path | str | None:
        record = out.with_suffix(".json")
        if converter == OURS or not record.exists():
            return None
        known = json.loads(record.read_text())
        if known["onnx"] != _digest(network.onnx):
            return None
        reason: str | None = known["error"]
        return reason or (out if out.exists() else None)

    def _make(self, network: Network, converter: str, precision: str, layout: str, out: Path) -> Path | str:
        self.say(f"{network.name}: {converter} {out.stem}")
        out.parent.mkdir(parents=True, exist_ok=True)
        reason = None
        try:
            converted(converter, self._job(network, converter, precision, layout, out), self.environments)
        except BadInput as error:
            reason = str(error)
        out.with_suffix(".json").write_text(json.dumps({"onnx": _digest(network.onnx), "error": reason}))
        return reason or out

    def _job(self, network: Network, converter: str, precision: str, layout: str, out: Path) -> Job:
        source, data = str(network.onnx), None
        if converter == "litert-torch":
            source = network.name if precision == "float32" else str(self.file(network, converter, "float32"))
        if precision in ("int8", "mixed"):
            data = str(network.samples("calibration"))
            if converter != OURS:  # it wants them as its own float file takes them
                [info] = open_tflite(self.file(network, converter, "float32")).contract.inputs
                data = str(out.parent / "calibration.npy")
                np.save(data, fitted(np.load(network.samples("calibration")), info.shape))
        return Job(source, str(out), precision, data, layout=layout)


def _prepare(network: Network, environments: Path, say: Callable[[str], None]) -> None:
    """Write the ONNX file, unless that of the same networks is there, and the samples."""
    networks, seen = _digest(Path(__file__).with_name("networks.py")), network.folder / "networks.sha256"
    if not network.onnx.exists() or not seen.exists() or seen.read_text() != networks:
        say(f"{network.name}: ONNX file")
        converted(TORCH, Job(network.name, str(network.onnx)), environments)
        seen.write_text(networks)
    for seed, (part, count) in enumerate({"calibration": CALIBRATION, "test": TEST}.items()):
        np.save(network.samples(part), smooth(SHAPES[network.name], count, seed))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
