"""The folder that a build leaves: the artifacts, `manifest.json` and `report.html`; written aside, renamed once."""

import datetime
import json
import platform
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgewright.api.reporting import report_of
from edgewright.api.result import Build, accuracy_drop, file_name
from edgewright.benchmarks.report.page import render
from edgewright.errors import BadInput
from edgewright.export.hop import Hop
from edgewright.runtimes.artifact import copy_artifact
from edgewright.runtimes.read import read
from edgewright.staging import replacing

MANIFEST = "manifest.json"


def check_place(out: Path, mark: str = MANIFEST) -> None:
    """Raises BadInput, before the work, when `out` holds anything but an earlier result, which has a file `mark`."""
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / mark).exists())):
        made = "edgewright build" if mark == MANIFEST else f"earlier result with a {mark}"
        raise BadInput(f"{out} exists and is no {made}: choose another --out, or remove it")


def write_bundle(build: Build) -> None:
    """Replace `build.out`. Raises WriteFailed when the disk refuses."""
    with replacing(build.out, "The artifacts are safe in the store.") as folder:
        _fill(build, folder)


def _fill(build: Build, folder: Path) -> None:
    folder.mkdir()
    for hop in build.hops:
        copy_artifact(hop.artifact.path, folder / file_name(hop))
    (folder / MANIFEST).write_text(json.dumps(manifest(build), indent=1) + "\n")
    render(report_of(build), folder / "report.html")


def manifest(build: Build) -> dict[str, Any]:
    """Everything a build knows, as JSON."""
    return {
        "edgewright": version("edgewright"),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "model": build.recipe.model,
        "data": build.samples_origin,
        "seed": build.recipe.seed,
        "plan": str(build.plan),
        "blocked": {str(spec): why for spec, why in build.plan.blocked.items()},
        "seconds": round(build.seconds, 3),
        "failures": list(build.failures),
        "best": {name: hop and file_name(hop) for name, hop in build.best.items()},
        "artifacts": [_artifact(build, hop) for hop in build.hops],
        "fits": [fit.to_dict() | {"artifact": hop.name} for hop, fit in build.fits],
    }


def _artifact(build: Build, hop: Hop) -> dict[str, Any]:
    timing = build.timings.get(hop.name, "not measured: it is not trained")
    return {
        "name": hop.name,
        "spec": str(hop.artifact.spec),
        "file": file_name(hop),
        "digest": hop.artifact.digest,
        "size_bytes": hop.artifact.size_bytes,
        "io": asdict(read(hop.artifact.path).contract),
        "parent": hop.parent,
        "step": hop.step,
        "options": dict(hop.options),
        "tools": dict(hop.tools),
        "notes": dict(hop.notes),
        "from_store": hop.from_store,
        "seconds": round(hop.seconds, 4),
        "accuracy_drop": accuracy_drop(hop, build.hops),
        "verdict": hop.verdict.to_json(),
        "measurement": timing if isinstance(timing, str) else asdict(timing),
    }
