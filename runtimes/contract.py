"""The I/O contract of an artifact: what the original model takes and gives, and how the file holds it.

A file carries its contract as JSON in its own metadata (ONNX ``metadata_props``, a TFLite ``Metadata`` buffer,
Core ML user-defined metadata) under `CONTRACT_KEY`, so a file alone is enough to run it in the original's terms.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.errors import BadInput, BadModel

CONTRACT_KEY = "edgewright.contract"

NAMES_KEY = "edgewright.names"
"""Core ML metadata: names in the file → names of the graph, for those that are no identifiers of an ML program."""


@dataclass(frozen=True)
class TensorInfo:
    """One input or output.

    `shape` and `dtype` are the original's (None: any length). `permutation` is set when the file's tensor is
    ``original.transpose(permutation)``. `file_dtype`, `scale` and `zero_point` tell how the file holds the values:
    real = (stored - zero_point) × scale. Axes in `open_axes` take any length; `shape` has the one to begin with.
    `ranges`, one for each open axis, bound their lengths (None: no upper bound); `choices` are the only whole shapes.
    `image` names the color layout of an input that a Core ML app gives as an image: one byte a pixel and channel.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str = "float32"
    permutation: tuple[int, ...] | None = None
    file_dtype: str | None = None
    scale: float | None = None
    zero_point: int | None = None
    open_axes: tuple[int, ...] = ()
    ranges: tuple[tuple[int, int | None], ...] = ()
    choices: tuple[tuple[int, ...], ...] = ()
    image: str | None = None

    def to_file(self, array: NDArray[Any]) -> NDArray[Any]:
        """An array in the original's layout and dtype → as the file wants it, contiguous."""
        self.check(array)
        stored = self.file_dtype or self.dtype
        if self.scale is not None and stored != self.dtype:
            limits = np.iinfo(stored)
            codes = np.rint(array / np.float32(self.scale)) + (self.zero_point or 0)
            array = np.clip(codes, limits.min, limits.max)
        if self.permutation is not None:
            array = array.transpose(self.permutation)
        return np.asarray(array, dtype=stored, order="C")  # ascontiguousarray makes rank 0 rank 1

    def from_file(self, array: NDArray[Any]) -> NDArray[Any]:
        """What the file gave → in the original's layout and dtype."""
        if self.permutation is not None:
            array = array.transpose(np.argsort(self.permutation))
        if self.scale is not None and array.dtype != self.dtype:
            array = (array.astype(np.float32) - np.float32(self.zero_point or 0)) * np.float32(self.scale)
        if self.shape == ():  # Core ML has no scalars: the file holds [1]
            array = array.reshape(())
        return np.asarray(array, dtype=self.dtype)

    def check(self, array: NDArray[Any]) -> None:
        """Raises BadInput when rank or a fixed length differs."""
        fixed = [None if axis in self.open_axes else n for axis, n in enumerate(self.shape)]
        if array.ndim != len(fixed) or any(
            want is not None and want != have for want, have in zip(fixed, array.shape, strict=True)
        ):
            want = "×".join("?" if n is None else str(n) for n in fixed)
            raise BadInput(f"input {self.name!r} wants shape {want}, got {'×'.join(map(str, array.shape))}")
        if self.choices and array.shape not in self.choices:
            known = " or ".join("×".join(map(str, shape)) for shape in self.choices)
            raise BadInput(f"input {self.name!r} wants shape {known}, got {'×'.join(map(str, array.shape))}")
        for axis, (low, high) in zip(self.open_axes, self.ranges):
            if array.shape[axis] < low or (high is not None and array.shape[axis] > high):
                wanted = f"{low} to {high}" if high is not None else f"{low} or more"
                raise BadInput(f"input {self.name!r} has length {array.shape[axis]} at axis {axis}, wanted {wanted}")


@dataclass(frozen=True)
class Contract:
    """`added` names outputs that the file has beside the original's: a classifier's label and its dictionary."""

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    added: tuple[str, ...] = field(default=(), kw_only=True)

    @property
    def is_batched(self) -> bool:
        """Whether the first axis of every input counts samples: all have one, of the same length.

        Otherwise a sample is all that one call takes, and sample arrays have one axis more than the inputs.
        """
        firsts = {info.shape[:1] for info in self.inputs}
        return len(firsts) == 1 and firsts != {()}

    def closed(self) -> "Contract":
        """With the lengths to begin with alone, for files that take no other."""
        ends = (
            tuple(replace(info, open_axes=(), ranges=(), choices=()) for info in infos)
            for infos in (self.inputs, self.outputs)
        )
        return Contract(*ends)

    def check_names(self, inputs: Collection[str], outputs: Collection[str], path: Path) -> None:
        """Raises BadModel unless the contract names every input of the file at `path`, and outputs that it has."""
        wrong = sorted({info.name for info in self.inputs} ^ set(inputs))
        wrong += sorted({info.name for info in self.outputs} - set(outputs))
        if wrong:
            ends = f"{', '.join(inputs)} → {', '.join(outputs)}"
            raise BadModel(f"{path}: its {CONTRACT_KEY} does not fit the file ({ends}): {', '.join(wrong)}")

    def to_file(self, arrays: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """The inputs as the file wants them, in this order. Raises one BadInput listing wrong names and shapes."""
        known = [info.name for info in self.inputs]
        problems = [f"no array for input {name!r}" for name in known if name not in arrays]
        problems += [f"unknown input {name!r}" for name in arrays if name not in known]
        stored: list[NDArray[Any]] = []
        for info in self.inputs:
            if info.name in arrays:
                try:
                    stored.append(info.to_file(np.asarray(arrays[info.name])))
                except BadInput as error:
                    problems.append(str(error))
        if problems:
            expected = ", ".join(f"{info.name} {info.dtype}{list(info.shape)}" for info in self.inputs)
            raise BadInput(f"{'; '.join(problems)}; expected: {expected.replace('None', '?')}")
        return stored

    def from_file(self, arrays: Iterable[NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """What the file gave, in this order → by the original's names, in its layout and dtype."""
        return {info.name: info.from_file(array) for info, array in zip(self.outputs, arrays, strict=True)}

    def to_json(self) -> str:
        raw = asdict(self)
        for row in (*raw["inputs"], *raw["outputs"]):
            for key in ("open_axes", "ranges", "choices", "image"):
                if not row[key]:
                    del row[key]
        if not self.added:
            del raw["added"]
        return json.dumps(raw, separators=(",", ":"), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Contract":
        """Raises BadInput on anything but a contract."""
        try:
            raw = json.loads(text)
            return cls(_infos(raw["inputs"]), _infos(raw["outputs"]), added=tuple(raw.get("added", ())))
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(f"unreadable {CONTRACT_KEY} in the file's metadata: {error}") from None


def _infos(rows: Sequence[dict[str, Any]]) -> tuple[TensorInfo, ...]:
    return tuple(TensorInfo(**{key: _as_tuple(value) for key, value in row.items()}) for row in rows)


def _as_tuple(value: Any) -> Any:
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value
