"""A loaded ML program, in the original's names, layout and types."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgewright.runtimes.coreml_contract import contract_of, names_in_file
from edgewright.runtimes.mil.interpreter import Arithmetic, Evaluation, Machine
from edgewright.runtimes.mil.program import open_program
from edgewright.runtimes.runtime import Arrays

Array = NDArray[Any]


class MilSession:
    """`arithmetic` as in `Machine`; a state keeps its value from call to call, as on the device."""

    def __init__(
        self, path: Path, threads: int = 1, arithmetic: Arithmetic = "float16-storage", function: str | None = None
    ) -> None:
        torch.set_num_threads(threads)  # torch knows no other scope than the process
        self.program = open_program(path, function)
        self.contract = contract_of(path, self.program.metadata)
        self._names = names_in_file(self.program.metadata)
        self._arithmetic = arithmetic
        self._state: dict[str, torch.Tensor] = {}

    def run(self, inputs: Arrays) -> dict[str, Array]:
        found = self.evaluate(inputs).outputs
        return self.contract.from_file(np.asarray(found[self._in_file(i.name)]) for i in self.contract.outputs)

    def prepared(self, inputs: Arrays) -> Callable[[], None]:
        feed = self._feed(inputs)

        def once() -> None:
            self._machine(None).call(feed)

        return once

    def intermediates(self, inputs: Arrays) -> dict[str, Array]:
        """Real-valued results of all operations by name."""
        seen: dict[str, Array] = {}
        self._machine(seen.__setitem__).call(self._feed(inputs))
        return {name: array for name, array in seen.items() if array.dtype.kind == "f"}

    def evaluate(self, inputs: Arrays) -> Evaluation:
        """What `run` gives by the names in the file, with the states and the first tensor beyond float16."""
        return self._machine(None).call(self._feed(inputs))

    def _machine(self, see: Callable[[str, Array], None] | None) -> Machine:
        return Machine(self.program, self._arithmetic, see, self._state)

    def _feed(self, inputs: Arrays) -> dict[str, Array]:
        arrays = dict(
            zip((self._in_file(i.name) for i in self.contract.inputs), self.contract.to_file(inputs), strict=True)
        )
        shapes = {value.name: value.shape for value in self.program.inputs}
        return {name: array.reshape(1) if array.ndim == 0 and shapes[name] else array for name, array in arrays.items()}

    def _in_file(self, name: str) -> str:
        return self._names.get(name, name)
