"""The factors by which channels were equalized, small enough to travel in a file: eighths of octaves, a byte each.

With them whoever has the float model can equalize it alike, and compare inner tensors of an int8 file with it.
"""

import base64
import json
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
EQUALIZED_KEY = "edgewright.equalized"
TO_OCTAVE = 8


def on_grid(factors: Floats) -> Floats:
    """The nearest factors that `encode` keeps exactly."""
    exponents = np.clip(np.rint(TO_OCTAVE * np.log2(factors)), -128, 127)
    return np.asarray(2.0 ** (exponents / TO_OCTAVE), np.float64)


def encode(factors: Mapping[str, Floats]) -> str:
    """Factors on the grid, by name, as text."""
    exponents = {name: np.rint(TO_OCTAVE * np.log2(each)).astype(np.int8) for name, each in factors.items()}
    return json.dumps({name: base64.b64encode(each.tobytes()).decode() for name, each in sorted(exponents.items())})


def decode(text: str) -> dict[str, Floats]:
    """The inverse of `encode`."""
    held = {name: np.frombuffer(base64.b64decode(each), np.int8) for name, each in json.loads(text).items()}
    return {name: 2.0 ** (each.astype(np.float64) / TO_OCTAVE) for name, each in held.items()}
