"""DATA: real samples with an honest split.

DATA is an ``.npz`` (one array per input name, first axis the samples, optionally `labels` and `split`), an ``.npy``
(one input), a folder of images (label = folder name), or ``package.module:function`` giving ``(inputs, labels)``.

Parts: ``train``, ``calibration``, ``validation`` and ``test`` never share a sample. A `split` array names the part of
each sample; where it names no ``calibration``, a fixed-hash eighth of ``train`` serves and leaves it. Without `split`
a fixed hash of the index gives 3/4 to calibrate (a sixth of it is ``validation``) and 1/4 to verify (``test``).
"""

import hashlib
import importlib
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.errors import BadData, MissingExtra

MOST_PROBE_ELEMENTS = 1 << 30

PARTS = ("train", "calibration", "validation", "test")
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}


@dataclass(frozen=True)
class Samples:
    """Arrays by input name, first axis the samples; `labels` [n] are class indices, `split` [n] the part of each."""

    inputs: Mapping[str, NDArray[Any]]
    labels: NDArray[np.int64] | None = None
    split: NDArray[np.str_] | None = None
    origin: str = "given"

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values()))) if self.inputs else 0

    def at(self, rows: NDArray[Any]) -> "Samples":
        """The samples of these rows (indices or mask)."""
        return Samples(
            {name: array[rows] for name, array in self.inputs.items()},
            None if self.labels is None else self.labels[rows],
            None if self.split is None else self.split[rows],
            self.origin,
        )

    def part(self, name: str) -> "Samples":
        """One of `PARTS`; may be empty."""
        return self.at(self._parts() == name)

    def first(self, count: int) -> "Samples":
        """At most `count` samples, spread evenly over all of them."""
        if len(self) <= count:
            return self
        return self.at(np.linspace(0, len(self) - 1, count).astype(int))

    def digest(self) -> str:
        """sha256 over names, dtypes, shapes and bytes."""
        total = hashlib.sha256()
        arrays = dict(sorted(self.inputs.items())) | {"labels": self.labels, "split": self.split}
        for name, array in arrays.items():
            if array is not None:
                total.update(f"{name}:{array.dtype}:{array.shape}".encode())
                total.update(np.ascontiguousarray(array).tobytes())
        return total.hexdigest()

    def _parts(self) -> NDArray[np.str_]:
        if self.split is None:
            bucket = _bucket(len(self), 8)
            return np.where(bucket < 2, "test", np.where(bucket == 2, "validation", "calibration"))
        if np.any(self.split == "calibration"):
            return self.split
        borrowed = (self.split == "train") & (_bucket(len(self), 8) == 0)
        return np.where(borrowed, "calibration", self.split)


def _bucket(count: int, buckets: int) -> NDArray[np.int64]:
    """A number below `buckets` for each index, the same on every machine."""
    digests = (hashlib.sha256(str(index).encode()).digest()[0] for index in range(count))
    return np.fromiter((first % buckets for first in digests), dtype=np.int64, count=count)


def load_samples(source: str, *, shape: tuple[int | None, ...] | None = None, input_name: str = "input") -> Samples:
    """Read DATA. `shape` is the model's input shape, to which images are resized; `input_name` names a lone input.

    Raises BadData saying all that is wrong: absent file, empty, lengths that differ, values that are not finite.
    """
    path = Path(source)
    if path.suffix == ".npz":
        samples = _from_npz(path)
    elif path.suffix == ".npy":
        samples = Samples({input_name: _load_numpy(path)})
    elif path.is_dir():
        samples = _from_images(path, shape, input_name)
    elif ":" in source:
        samples = _from_function(source)
    else:
        raise BadData(f"{source}: no such data; give an .npz, an .npy, a folder of images or package.module:function")
    checked = Samples(MappingProxyType(dict(samples.inputs)), samples.labels, samples.split, source)
    _check(checked)
    return checked


def synthetic(shapes: Mapping[str, tuple[tuple[int | None, ...], str]], count: int = 16, seed: int = 0) -> Samples:
    """Seeded standard-normal probes for inputs of (shape, dtype), labelled synthetic; integers are drawn below 100.

    Raises BadData for inputs that no machine holds.
    """
    generator = np.random.default_rng(seed)
    inputs: dict[str, NDArray[Any]] = {}
    for name, (shape, dtype) in shapes.items():
        full = (count, *(n or 1 for n in shape[1:]))
        if prod(full) > MOST_PROBE_ELEMENTS:
            raise BadData(f"input {name!r} of shape {shape} is too large for probes; give samples, or a smaller shape")
        if np.issubdtype(np.dtype(dtype), np.floating):
            inputs[name] = generator.standard_normal(full).astype(dtype)
        else:
            inputs[name] = generator.integers(0, 2 if dtype == "bool" else 100, full).astype(dtype)
    return Samples(inputs, origin="synthetic")


def _load_numpy(path: Path) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise BadData(f"{path}: no such file") from None
    except (OSError, ValueError, EOFError) as error:
        raise BadData(f"{path}: not readable as numpy data without pickle ({error})") from None


def _from_npz(path: Path) -> Samples:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise BadData(f"{path}: no such file") from None
    except (OSError, ValueError, AttributeError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise BadData(f"{path}: no .npz archive, damaged, or holding pickled objects ({error})") from None
    labels = arrays.pop("labels", None)
    split = arrays.pop("split", None)
    return Samples(arrays, labels, None if split is None else split.astype(str))


def _from_function(source: str) -> Samples:
    module_name, _, function_name = source.partition(":")
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError) as error:
        raise BadData(f"{source}: cannot import it ({error})") from None
    inputs, labels = function()
    return Samples(
        {name: np.asarray(array) for name, array in inputs.items()}, None if labels is None else np.asarray(labels)
    )


def _from_images(folder: Path, shape: tuple[int | None, ...] | None, input_name: str) -> Samples:
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtra("pillow", "images", "reading a folder of images") from None
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise BadData(f"{folder}: no images ({', '.join(sorted(IMAGE_SUFFIXES))}) in it")
    if shape is None or len(shape) != 4 or None in shape[1:]:
        raise BadData(f"{folder}: images need a model with one N×C×H×W input of fixed size, got {shape}")
    _, channels, height, width = (int(n or 1) for n in shape)
    mode = {1: "L", 3: "RGB"}.get(channels)
    if mode is None:
        raise BadData(f"{folder}: the model wants {channels} channels; images have 1 or 3")
    classes = sorted({file.parent.name for file in files})
    pixels = np.empty((len(files), channels, height, width), np.float32)
    for row, file in enumerate(files):
        with Image.open(file) as image:
            resized = np.asarray(image.convert(mode).resize((width, height), Image.Resampling.BILINEAR), np.float32)
        pixels[row] = resized.reshape(height, width, channels).transpose(2, 0, 1)
    return Samples({input_name: pixels}, np.array([classes.index(file.parent.name) for file in files]))


def _check(samples: Samples) -> None:
    problems = [] if samples.inputs else ["it holds no arrays"]
    lengths = {name: (len(array) if array.ndim else -1) for name, array in samples.inputs.items()}
    if len(set(lengths.values())) > 1:
        problems.append(f"sample counts differ: {lengths}")
    if any(length < 1 for length in lengths.values()):
        problems.append(f"no samples in {[name for name, length in lengths.items() if length < 1]}")
    for name, array in samples.inputs.items():
        if array.dtype.kind not in "fiub":
            problems.append(f"{name} has dtype {array.dtype}, wanted numbers")
        elif array.dtype.kind == "f" and not np.isfinite(array).all():
            problems.append(f"{name} holds NaN or infinity")
    for name, extra in (("labels", samples.labels), ("split", samples.split)):
        if extra is not None and extra.shape != (len(samples),):
            problems.append(f"{name} has shape {extra.shape}, wanted ({len(samples)},)")
    if samples.labels is not None and samples.labels.dtype.kind not in "iu":
        problems.append(f"labels have dtype {samples.labels.dtype}, wanted class indices")
    if samples.split is not None and not set(np.unique(samples.split)) <= set(PARTS):
        problems.append(
            f"split names unknown parts {sorted(set(np.unique(samples.split)) - set(PARTS))}; known: {PARTS}"
        )
    if problems:
        raise BadData(f"{samples.origin}: " + "; ".join(problems))
