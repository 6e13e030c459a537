"""The folder that goes to a Mac: packages, inputs with the answers that are expected, and the script."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.errors import BadInput
from edgewright.runtimes.artifact import copy_artifact, digest_of
from edgewright.staging import replacing

SCRIPT, MANIFEST, RESULTS, FORMAT = "profile_on_mac.py", "manifest.json", "results.json", 1
Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Call:
    """Arrays by the names in the file; `goldens` by what gave them, such as "evaluator"."""

    inputs: Arrays
    goldens: Mapping[str, Arrays]


@dataclass(frozen=True)
class Case:
    """One package with at least one call. `reference_digest` names the artifact that gave the reference's answers."""

    name: str
    package: Path
    calls: Sequence[Call]
    reference_digest: str = ""


def write_bundle(out: Path, cases: Sequence[Case]) -> None:
    """Write the folder `out`, the same bytes for the same cases, in place of an earlier one.

    Raises BadInput when `out` holds something else, or results, which would be lost.
    """
    if out.exists() and not (out / MANIFEST).is_file():
        raise BadInput(f"{out} exists and holds no {MANIFEST}: name a folder that does not exist yet")
    if (out / RESULTS).exists():
        raise BadInput(f"{out} holds {RESULTS} of a Mac: move it away, or name another folder")
    with replacing(out) as folder:
        folder.mkdir()
        rows = [_write_case(folder, case) for case in cases]
        manifest = {"format": FORMAT, "edgewright": version("edgewright"), "cases": rows}
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        script = files("edgewright.benchmarks.mac") / SCRIPT
        (folder / SCRIPT).write_text(script.read_text(encoding="utf-8"), encoding="utf-8")


def _write_case(folder: Path, case: Case) -> dict[str, Any]:
    place = folder / case.name
    place.mkdir()
    copy_artifact(case.package, place / "model.mlpackage")
    arrays: dict[str, NDArray[Any]] = {}
    for number, call in enumerate(case.calls):
        for kind, named in ({"input": call.inputs} | dict(call.goldens)).items():
            arrays |= {f"{number}/{kind}/{name}": array for name, array in named.items()}
    np.savez_compressed(place / "goldens.npz", **arrays)
    return {
        "name": case.name,
        "package": f"{case.name}/model.mlpackage",
        "digest": digest_of(case.package),
        "goldens": f"{case.name}/goldens.npz",
        "reference_digest": case.reference_digest,
        "samples": len(case.calls),
    }
