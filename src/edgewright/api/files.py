"""What one can do with artifacts at hand: load, run, compare the answers of two, look inside."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.api.staged_session import MANIFEST, StagedSession, read_staged
from edgewright.data import Samples, load_samples
from edgewright.errors import BadData, BadInput, Error
from edgewright.export.verify import Fidelity, Limit, fidelity, limit_for, shortfalls
from edgewright.progress import Progress
from edgewright.runtimes.artifact import Artifact, artifact_at
from edgewright.runtimes.micro import arena_bytes
from edgewright.runtimes.read import Model, read
from edgewright.runtimes.runtime import Session, pick, run_samples
from edgewright.staging import replacing


def open_artifact(path: Path | str, *, trust: bool = False) -> Artifact:
    """Name a file by what it truly holds. Raises BadInput, BadModel."""
    place = Path(path)
    found = artifact_at(place, trusted=trust)
    if place.suffix == ".pt2":
        return found
    return artifact_at(place, read(place).precision, trusted=trust)


def load(
    path: Path | str,
    *,
    threads: int = 1,
    runtime: str | None = None,
    trust: bool = False,
    progress: Progress | None = None,
) -> Session:
    """A session: ``load("model.tflite").run({"window": array})`` gives outputs by name, in the original's terms.

    Raises Error where nothing here runs the file, saying why; NotTrusted for torch artifacts without `trust`.
    """
    if (Path(path) / MANIFEST).is_file():
        return _load_staged(Path(path), threads, runtime, progress)
    artifact = artifact_at(Path(path), trusted=trust)  # what precision it is need not be known to run it
    chosen, why = pick(artifact.spec.format, runtime)
    if chosen is None:
        raise Error(f"{path} cannot run here: {why}")
    if chosen.caution and progress is not None:
        progress.say(f"{path}: {chosen.caution} ({chosen.name})")
    return chosen.load(artifact, threads)


def _load_staged(folder: Path, threads: int, runtime: str | None, progress: Progress | None) -> StagedSession:
    """The stages of a folder behind their gate, as one session."""
    stages, gate, contract = read_staged(folder)
    sessions = [load(folder / stage.file, threads=threads, runtime=runtime, progress=progress) for stage in stages]
    return StagedSession(stages, sessions, gate, contract)


def run(
    path: Path | str,
    data: str,
    *,
    out: Path | str | None = None,
    threads: int = 1,
    runtime: str | None = None,
    trust: bool = False,
    progress: Progress | None = None,
) -> dict[str, NDArray[Any]]:
    """The outputs for every sample of DATA, by name; written to the ``.npz`` `out` where one is named."""
    session = load(path, threads=threads, runtime=runtime, trust=trust, progress=progress)
    if out is not None and Path(out).suffix != ".npz":
        raise BadInput(f"{out}: outputs are written as .npz")
    first = session.contract.inputs[0]
    samples = load_samples(data, shape=first.shape, input_name=first.name)
    outputs = run_samples(session, samples.inputs, progress, f"run {Path(path).name}")
    if out is not None:
        with replacing(Path(out)) as aside:
            np.savez_compressed(aside, **outputs)
    return outputs


@dataclass(frozen=True)
class Comparison:
    """`b` judged against `a`; `missed` lists each limit it misses, empty when it passes."""

    a: Artifact
    b: Artifact
    fidelity: Fidelity
    limit: Limit | None
    missed: tuple[str, ...]


def verify(
    a: Path | str, b: Path | str, data: str, *, trust: bool = False, progress: Progress | None = None
) -> Comparison:
    """Run both artifacts on the test part of DATA and compare the answers of `b` with those of `a`.

    The limit is that of `b`'s precision (stricter where both have the same).
    """
    artifacts = [open_artifact(path, trust=trust) for path in (a, b)]
    sessions = [load(path, trust=trust, progress=progress) for path in (a, b)]
    first = sessions[0].contract.inputs[0]
    samples = test_part(load_samples(data, shape=first.shape, input_name=first.name), data)
    answers = [run_samples(session, samples.inputs, progress, "verify") for session in sessions]
    measured = fidelity(answers[0], answers[1], samples)
    limit = limit_for(artifacts[1].spec.precision, artifacts[0].spec.precision)
    missed = tuple(shortfalls(measured, limit)) if limit else ()
    return Comparison(artifacts[0], artifacts[1], measured, limit, missed)


def inspect(path: Path | str) -> Model:
    """What a file truly holds: operators, dtypes, quantization, sizes, its I/O contract. Nothing is run."""
    return read(Path(path))


def arena(path: Path | str) -> int:
    """Bytes of tensor arena that a .tflite file asks of tflite-micro, which runs it once, on a 64-bit host.

    Raises BadInput for another kind of file, BadModel when tflite-micro refuses it, MissingExtra without it.
    """
    if Path(path).suffix != ".tflite":
        raise BadInput(f"{path}: only a .tflite file runs in tflite-micro")
    return arena_bytes(Path(path))


def test_part(samples: Samples, data: str) -> Samples:
    """The samples to verify on. Raises BadData when DATA keeps none for that."""
    test = samples.part("test")
    if len(test) == 0:
        raise BadData(f"{data}: no sample is in the test part")
    return test
