"""A package on its way to a Mac and back: the folder with the script, and what the script found."""

from dataclasses import dataclass
from pathlib import Path

from edgewright.api.files import load, open_artifact, test_part
from edgewright.api.neural_engine import coreml_package, neural_engine
from edgewright.benchmarks.mac.bundle import write_bundle
from edgewright.benchmarks.mac.results import CaseResult, Machine, OnUnit, read_results
from edgewright.benchmarks.neural_engine.table import Eligibility
from edgewright.data import load_samples
from edgewright.errors import BadInput
from edgewright.export.verify import Fidelity, limit_for, shortfalls
from edgewright.progress import Progress
from edgewright.runtimes.artifact import Artifact, digest_of

REFERENCE = "reference"
NEURAL_ENGINE = "NeuralEngine"


@dataclass(frozen=True)
class MacVerdict:
    """`missed` names the unit and what it misses; empty when every choice of units answers within the limits.

    `surprises` lists operations of which the published rules and Core ML's compute plan disagree.
    """

    artifact: Artifact
    machine: Machine
    case: CaseResult
    missed: tuple[str, ...]
    surprises: tuple[str, ...]


def mac_script(
    reference: Path | str,
    package: Path | str,
    data: str,
    out: Path | str,
    *,
    trust: bool = False,
    progress: Progress | None = None,
) -> None:
    """Write the folder `out`: the package, the answers of the reference and of the evaluator on the test part of DATA,
    and `profile_on_mac.py`. Raises BadInput for anything but an .mlpackage."""
    from edgewright.benchmarks.mac.goldens import case_of

    place = coreml_package(package)
    session = load(reference, trust=trust, progress=progress)
    first = session.contract.inputs[0]
    samples = test_part(load_samples(data, shape=first.shape, input_name=first.name), data)
    write_bundle(Path(out), [case_of(place, samples.inputs, session, digest_of(Path(reference)))])


def mac_results(reference: Path | str, package: Path | str, results: Path | str, *, trust: bool = False) -> MacVerdict:
    """Judge what a Mac found by the limits of the package's precision.

    Raises BadInput when the results are of another package or another reference.
    """
    a, b = (open_artifact(path, trust=trust) for path in (reference, package))
    found = read_results(Path(results))
    case = found.case(b.digest)
    if case is None:
        raise BadInput(f"{results}: measured {', '.join(each.name for each in found.cases)}, not this {package}")
    if case.reference_digest != a.digest:
        raise BadInput(f"{results}: its expected answers are not those of {reference}")
    limit = limit_for(b.spec.precision, a.spec.precision)
    missed = [f"{unit.unit}: {unit.error}" for unit in case.units if unit.error]
    for unit in case.units:
        if limit is not None and REFERENCE in unit.against:
            missed += [f"{unit.unit}: {text}" for text in shortfalls(_fidelity(unit, case), limit)]
    return MacVerdict(b, found.machine, case, tuple(missed), tuple(_surprises(Path(package), case)))


def _fidelity(unit: OnUnit, case: CaseResult) -> Fidelity:
    found = unit.against[REFERENCE]
    return Fidelity(case.samples, found.max_abs, found.snr_db, found.top1_agreement, None, synthetic=False)


def _surprises(package: Path, case: CaseResult) -> list[str]:
    """Where the plan for CPU and Neural Engine and the rules say otherwise, by operation."""
    plan = {each.name: each for unit in case.units if unit.unit == "CPU_AND_NE" for each in unit.placement}
    lines = []
    for judged in neural_engine(package).operations:
        placed = plan.get(judged.name)
        if placed is None or judged.finding.verdict is Eligibility.UNKNOWN:
            continue
        takes = NEURAL_ENGINE in placed.supported
        if takes is not (judged.finding.verdict is Eligibility.ELIGIBLE):
            says = "supports it" if takes else "does not support it"
            lines.append(f"{judged.type} {judged.name}: by the rules {judged.finding.verdict}, the plan {says}")
    return lines
