"""An array → a bit mask and what is not zero."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.export.coreml.compressed.options import SparseOptions
from edgewright.export.onnx.quantize.weight_only import encoded

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Sparse:
    """w = mask ? values · scales[channel] : 0. `values` in the order of the array; channels count along `axis`."""

    axis: int
    mask: NDArray[np.bool_]
    values: Array
    scales: Array | None = None

    @property
    def stored_bytes(self) -> int:
        """What the file holds, headers and alignment aside."""
        scales_bytes = 0 if self.scales is None else self.scales.nbytes
        return -(-self.mask.size // 8) + self.values.nbytes + scales_bytes


def sparsify(array: Array, axis: int, options: SparseOptions) -> Sparse | str:
    """The array without its zeros, or why it is kept whole."""
    if not array.any():
        return "it is all zeros"
    if options.values == "int8":
        codes, scales = encoded(array.astype(np.float32), axis)
        return Sparse(axis, codes != 0, codes[codes != 0], scales.astype(array.dtype))
    return Sparse(axis, array != 0, array[array != 0])


def pruned(array: Array, density: float) -> Array:
    """The array with all but the largest `density` · size entries at zero, those as small as the next one too."""
    kept = max(1, round(density * array.size))
    if kept >= np.count_nonzero(array):
        return array
    sizes = np.abs(array)
    limit = np.partition(sizes.reshape(-1), array.size - kept - 1)[array.size - kept - 1]
    thin = np.where(sizes > limit, array, np.zeros((), array.dtype))
    return thin if thin.any() else array
