"""One call on one package, with everything inside: for tests and for finding where two formats part."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.runtimes.mil.interpreter import Arithmetic, Machine
from edgewright.runtimes.mil.program import open_program

Array = NDArray[Any]


def evaluate(
    package: Path,
    inputs: Mapping[str, Array],
    arithmetic: Arithmetic = "float32",
    taught: Mapping[str, Array] | None = None,
) -> dict[str, Array]:
    """Every result by its name in the file, outputs included; `inputs` by these names too.

    Where `taught` has a tensor, its readers get that one, while the answer keeps what was computed.
    """
    seen: dict[str, Array] = {}

    def see(name: str, result: Array) -> Array | None:
        seen[name] = result
        return taught.get(name) if taught else None

    outputs = Machine(open_program(package), arithmetic, see).call(inputs).outputs
    return seen | {name: np.asarray(array) for name, array in outputs.items() if name not in seen}
