"""What runs a file. A runtime is one module in this folder that defines `RUNTIME`; the file's presence registers it."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgewright.devices.spec import Format
from edgewright.errors import BadData, Error
from edgewright.progress import Progress, Silent
from edgewright.runtimes.artifact import Artifact
from edgewright.runtimes.contract import Contract

Arrays = Mapping[str, NDArray[Any]]

ROWS = ".rows"
"""Behind the name of an output whose rows depend on values: how many each call gave."""


class Session(Protocol):
    """A loaded artifact. Inputs and outputs are in the original's names, layout and dtype."""

    contract: Contract

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """One call. Raises BadInput on a wrong name or shape."""
        ...

    def prepared(self, inputs: Arrays) -> Callable[[], None]:
        """A function that runs once on these inputs with nothing but the runtime's own work inside: for timing."""
        ...

    def intermediates(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Inner tensors by name, real-valued, in the file's layout; empty where the runtime cannot tell."""
        ...


class Runtime(Protocol):
    name: str
    formats: tuple[Format, ...]  # first what it is made for; none: only its name picks it
    preference: int  # lower is picked first
    caution: str  # what its answers do not prove, "" for the real thing; with a caution it is never timed

    def missing(self) -> str | None:
        """Why it cannot run here, as a sentence with what to do; None when it can."""
        ...

    def version(self) -> str:
        """The version of the package that runs the file."""
        ...

    def load(self, artifact: Artifact, threads: int = 1) -> Session: ...


@cache
def runtimes() -> Mapping[str, Runtime]:
    """Every runtime of this folder by name, best first."""
    found: list[Runtime] = []
    package = importlib.import_module("edgewright.runtimes")
    for module_info in pkgutil.iter_modules(package.__path__, "edgewright.runtimes."):
        runtime: Runtime | None = getattr(importlib.import_module(module_info.name), "RUNTIME", None)
        if runtime is not None:
            found.append(runtime)
    names = [runtime.name for runtime in found]
    if len(set(names)) != len(names):
        raise Error(f"two runtimes share a name: {sorted(names)}")
    return MappingProxyType({runtime.name: runtime for runtime in sorted(found, key=lambda r: (r.preference, r.name))})


def pick(format_: Format, name: str | None = None, *, timed: bool = False) -> tuple[Runtime | None, str]:
    """The best runtime here for a format (or the named one), and why there is none.

    `timed`: for a measurement, so none that only stands in for the real thing.
    """
    reasons = []
    named = [runtime for runtime in runtimes().values() if name in (None, runtime.name)]
    fitting = [r for r in named if format_ in r.formats or (name is not None and not r.formats)]
    for runtime in sorted(fitting, key=lambda r: r.formats[:1] != (format_,)):
        reason = runtime.missing()
        if reason is None and timed and runtime.caution:
            reason = f"gives answers, not times: {runtime.caution}"
        if reason is None:
            return runtime, ""
        reasons.append(f"{runtime.name}: {reason}")
    return None, "; ".join(reasons) or f"no runtime for {format_.value}" + (f" is named {name!r}" if name else "")


def run_samples(
    session: Session, inputs: Arrays, progress: Progress | None = None, label: str = "run"
) -> dict[str, NDArray[Any]]:
    """Run every sample (first axis) and join the outputs; a model with a fixed batch is fed batch by batch.

    Of an output whose number of rows depends on values (boxes found in an image) all rows are joined, and an array
    of its name and `ROWS` tells how many each call gave. A model with an open batch that has such is fed one by one.
    Raises BadData when the sample count is not a multiple of the model's batch, or a name is missing.
    """
    contract = session.contract
    missing = [info.name for info in contract.inputs if info.name not in inputs]
    if missing:
        raise BadData(f"the data has no array for input(s) {missing}; it has {sorted(inputs)}")
    wanted = {info.name: np.asarray(inputs[info.name]).astype(info.dtype, copy=False) for info in contract.inputs}
    count = min(len(array) for array in wanted.values())
    batch = batch_of(contract, count)
    if count == 0 or count % batch:
        raise BadData(f"{count} samples do not fill batches of {batch}")
    pieces = _calls(session, wanted, batch, count, progress, label)
    counted = _counted(contract, pieces, batch)
    if counted and contract.inputs[0].shape[:1] == (None,):
        pieces = _calls(session, wanted, 1, count, progress, label)
        counted = _counted(contract, pieces, 1)
    joined = {}
    for info in contract.outputs:
        join = np.concatenate if info.name in counted or (contract.is_batched and info.shape) else np.stack
        joined[info.name] = join([piece[info.name] for piece in pieces])
    return joined | {f"{name}{ROWS}": np.array([len(piece[name]) for piece in pieces]) for name in counted}


def _calls(
    session: Session, inputs: Arrays, batch: int, count: int, progress: Progress | None, label: str
) -> list[dict[str, NDArray[Any]]]:
    """What each call gives."""
    pieces: list[dict[str, NDArray[Any]]] = []
    with (progress or Silent()).task(label, count) as advance:
        for start in range(0, count, batch):
            pieces.append(session.run(call_inputs(session.contract, inputs, start, batch)))
            advance(batch)
    return pieces


def _counted(contract: Contract, pieces: list[dict[str, NDArray[Any]]], batch: int) -> list[str]:
    """The outputs whose first length is no number of samples, but depends on them."""
    names = [info.name for info in contract.outputs if info.shape[:1] == (None,)]
    lengths = {name: {len(piece[name]) for piece in pieces} for name in names}
    return [name for name in names if (lengths[name] != {batch} if contract.is_batched else len(lengths[name]) > 1)]


def batch_of(contract: Contract, count: int) -> int:
    """How many of `count` samples one call takes."""
    return (contract.inputs[0].shape[0] or count) if contract.is_batched else 1


def call_inputs(contract: Contract, inputs: Arrays, start: int, batch: int) -> dict[str, NDArray[Any]]:
    """What one call takes of the samples from `start` on."""
    rows = slice(start, start + batch) if contract.is_batched else start
    return {info.name: inputs[info.name][rows] for info in contract.inputs}
