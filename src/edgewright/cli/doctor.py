"""`edgewright doctor`."""

import dataclasses
import re
from typing import Annotated

import typer

from edgewright.benchmarks.units import bytes_text
from edgewright.cli.console import Json, StorePath, emit, table
from edgewright.errors import BadInput

UNITS = {"": 1, "K": 1000, "M": 1000**2, "G": 1000**3}


def command(
    prune: Annotated[
        str | None, typer.Option("--prune", metavar="SIZE", help="Trim the store to this size first, e.g. 500M or 2G.")
    ] = None,
    store: StorePath = None,
    json_: Json = False,
) -> None:
    """What works here: packages, runtimes, steps, the store. Example: edgewright doctor"""
    from edgewright import api

    health = api.doctor(store=store, prune_bytes=_bytes(prune) if prune else None)
    if json_:
        return emit(dataclasses.asdict(health))
    table(
        f"Python {health.python}",
        ["package", "version"],
        [(n, v or "not installed") for n, v in health.packages.items()],
    )
    for what, states in (("runtime", health.runtimes), ("step", health.steps)):
        print()
        table("", [what, "here"], [(name, why or "ok") for name, why in states.items()])
    trimmed = f", {bytes_text(health.trimmed_bytes)} removed" if prune else ""
    print(f"\nstore {health.store}: {bytes_text(health.store_bytes)}{trimmed}")
    return None


def _bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]?)B?", text.strip().upper())
    if match is None:
        raise BadInput(f"--prune {text!r}: write a size like 500M or 2G")
    return int(float(match[1]) * UNITS[match[2]])
