"""Preprocessing inside the model: the file takes raw samples, so no app can get the normalization wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.errors import BadInput, nearest


@dataclass(frozen=True)
class Preprocess:
    """The model's real input is (raw × scale - mean) / std, per channel (axis 1), for models with one input.

    `mean` and `std` have one value a channel, or one for all; `dtype` is what the raw input comes as: float32 or uint8.
    """

    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    dtype: str = "float32"

    def __post_init__(self) -> None:
        problems = []
        if len(self.mean) != len(self.std) and 1 not in (len(self.mean), len(self.std)):
            problems.append(f"{len(self.mean)} means but {len(self.std)} standard deviations")
        if any(value <= 0 for value in self.std):
            problems.append("std must be positive")
        if self.dtype not in ("float32", "uint8"):
            problems.append(f"dtype is {self.dtype!r}; known: float32, uint8")
        if problems:
            raise BadInput("preprocess: " + "; ".join(problems))

    def affine(self) -> tuple[list[float], list[float]]:
        """Factors and offsets, per channel or one for all: real input = raw × factor + offset."""
        count = max(len(self.mean), len(self.std))
        mean, std = (list(values) * (count if len(values) == 1 else 1) for values in (self.mean, self.std))
        return [self.scale / s for s in std], [-m / s for m, s in zip(mean, std, strict=True)]

    def applied(self, raw: NDArray[Any]) -> NDArray[np.float32]:
        """The model's real input, for samples as the app gives them; the same float32 numbers as inside the model."""
        per_channel = (1, -1, *[1] * (raw.ndim - 2))
        factors, offsets = (np.array(each, np.float32).reshape(per_channel) for each in self.affine())
        real: NDArray[np.float32] = raw.astype(np.float32) * factors + offsets
        return real

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "Preprocess":
        lists = {name: tuple(raw[name]) for name in ("mean", "std") if name in raw}
        return cls(**{**raw, **lists})


def read_preprocess(texts: Sequence[str]) -> Preprocess | None:
    """dtype=uint8, scale=0.0039, mean=0.48,0.46,0.41 as on the command line; None without any. Raises BadInput."""
    given: dict[str, Any] = {}
    for text in texts:
        key, _, values = text.partition("=")
        if key not in ("scale", "mean", "std", "dtype"):
            raise BadInput(f"preprocess {text!r}: {nearest(key, ('scale', 'mean', 'std', 'dtype'))}")
        try:
            numbers = values if key == "dtype" else tuple(float(each) for each in values.split(","))
        except ValueError:
            raise BadInput(f"preprocess {text!r}: wanted numbers, as in {key}=0.5") from None
        given[key] = numbers[0] if key == "scale" else numbers
    return Preprocess(**given) if given else None
