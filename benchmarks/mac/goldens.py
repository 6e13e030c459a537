"""What a Mac is expected to answer: the reference's outputs and the evaluator's, in the package's own terms."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.benchmarks.mac.bundle import Call, Case
from edgewright.errors import BadInput
from edgewright.runtimes.contract import TensorInfo
from edgewright.runtimes.coreml_contract import names_in_file
from edgewright.runtimes.mil.interpreter import Machine
from edgewright.runtimes.mil.program import Program
from edgewright.runtimes.mil.session import MilSession
from edgewright.runtimes.read.mil_proto import load_spec
from edgewright.runtimes.runtime import Arrays, Session, batch_of, call_inputs

EVALUATOR, REFERENCE = "evaluator", "reference"
MOST_CALLS = 16


def case_of(package: Path, inputs: Arrays, reference: Session, reference_digest: str) -> Case:
    """The first `MOST_CALLS` calls of the samples `inputs` in the original's terms, answered by both.

    Raises BadInput for a package that keeps states, takes images, or takes more samples a call than there are.
    """
    session = MilSession(package)
    kinds = {feature.name: feature.type.WhichOneof("Type") for feature in load_spec(package)[0].description.input}
    images = [name for name, kind in kinds.items() if kind != "multiArrayType"]
    if images:
        raise BadInput(f"{package}: {', '.join(images)} is no array; only packages that take arrays are bundled")
    if session.program.states:
        raise BadInput(f"{package}: keeps states from call to call; such packages are not bundled for a Mac")
    count = min(len(array) for array in inputs.values())
    batch = batch_of(session.contract, count)
    starts = list(range(0, count - batch + 1, batch))[:MOST_CALLS]
    if not starts:
        raise BadInput(f"{package}: takes {batch} samples a call; there are {count}")
    calls = [_call(session, reference, call_inputs(session.contract, inputs, start, batch)) for start in starts]
    return Case(package.stem, package, calls, reference_digest)


def program_call(program: Program, inputs: Arrays) -> Call:
    """A call of a package from anywhere, by the names in the file; the reference is the same program in float32."""
    goldens = {
        REFERENCE: Machine(program, "float32").call(inputs).outputs,
        EVALUATOR: Machine(program, "float16-storage").call(inputs).outputs,
    }
    return Call(
        inputs, {kind: {name: np.asarray(each) for name, each in named.items()} for kind, named in goldens.items()}
    )


def _call(session: MilSession, reference: Session, inputs: Arrays) -> Call:
    contract, names = session.contract, names_in_file(session.program.metadata)
    given = {info.name: np.asarray(inputs[info.name], info.dtype) for info in contract.inputs}
    answers = session.evaluate(given).outputs
    outputs = [names.get(info.name, info.name) for info in contract.outputs]
    return Call(
        _in_file(contract.inputs, given, names),
        {
            REFERENCE: _in_file(contract.outputs, reference.run(given), names),
            EVALUATOR: {name: np.asarray(answers[name]) for name in outputs},
        },
    )


def _in_file(infos: tuple[TensorInfo, ...], arrays: Arrays, names: Mapping[str, str]) -> dict[str, NDArray[Any]]:
    return {names.get(info.name, info.name): np.atleast_1d(info.to_file(arrays[info.name])) for info in infos}
