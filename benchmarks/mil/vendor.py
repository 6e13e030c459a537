"""A vendor's package against the same vendor's ONNX file (basic-pitch 0.4.0 ships both)."""

from pathlib import Path

import numpy as np

from edgewright.errors import BadInput
from edgewright.runtimes.mil.interpreter import Machine
from edgewright.runtimes.mil.program import open_program


def largest_differences(package: Path, onnx: Path) -> dict[str, float]:
    """Largest absolute difference of each output on one seeded input, against the nearest output of that shape.

    Raises BadInput unless there is one input and every output has its like.
    """
    import onnxruntime as ort  # type: ignore[import-untyped]

    program = open_program(package)
    (given,) = program.inputs
    x = 0.1 * np.random.default_rng(0).standard_normal([n or 1 for n in given.shape or ()]).astype(np.float32)
    session = ort.InferenceSession(str(onnx), providers=["CPUExecutionProvider"])
    wanted = [np.asarray(array) for array in session.run(None, {session.get_inputs()[0].name: x})]
    found = {}
    for name, array in Machine(program).call({given.name: x}).outputs.items():
        errors = [float(np.abs(array - other).max()) for other in wanted if other.shape == array.shape]
        if not errors:
            raise BadInput(f"{onnx}: no output of shape {list(array.shape)}")
        found[name] = min(errors)
    return found
