"""A tensor of the file being written."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Quantization:
    """real = (stored - zero_point) × scale; `scale` float32 and `zero_point` int64, both [1] or, along `axis`, [C]."""

    scale: NDArray[np.float32]
    zero_point: NDArray[np.int64]
    axis: int = 0

    def same(self, other: "Quantization | None") -> bool:
        return (
            other is not None
            and np.array_equal(self.scale, other.scale)
            and np.array_equal(self.zero_point, other.zero_point)
        )

    def along(self, axis: int) -> "Quantization":
        """The same values for weights whose channels were moved to `axis`; per tensor it stays as it is."""
        return Quantization(self.scale, self.zero_point, axis if self.scale.size > 1 else 0)

    def code(self, real: float) -> int:
        """The int8 code nearest to a real number; per tensor only."""
        return int(np.clip(np.rint(np.float32(real) / self.scale[0]) + self.zero_point[0], -128, 127))

    def __str__(self) -> str:
        if self.scale.size == 1:
            return f"scale {self.scale[0]:.6g}, zero point {self.zero_point[0]}"
        return f"{self.scale.size} scales on axis {self.axis}"


@dataclass(frozen=True, eq=False)
class Tensor:
    """`shape` is the shape in the file; `data` holds the values of a constant. Compared by identity.

    Axes in `open_axes` take any length: `shape` has the one to begin with.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    data: NDArray[Any] | None = None
    quantization: Quantization | None = None
    open_axes: tuple[int, ...] = ()

    @property
    def is_int8(self) -> bool:
        return self.dtype == np.int8
