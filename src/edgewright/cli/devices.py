"""`edgewright devices`."""

import dataclasses
from typing import Annotated

import typer

from edgewright.benchmarks.units import bytes_text
from edgewright.cli.console import Json, emit, table


def command(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="One device, with sources.")] = None,
    json_: Json = False,
) -> None:
    """The devices that edgewright knows, or one with the source of each figure.

    Example: edgewright devices raspberry-pi-4
    """
    from edgewright import api

    found = api.list_devices(name)
    if json_:
        return emit([dataclasses.asdict(d) | {"accepts": [str(s) for s in d.accepts]} for d in found])
    if name is None:
        heads = ("device", "title", "runtime", ">storage", ">RAM")
        rows = [
            (d.name, d.title, d.runtime, bytes_text(d.storage_bytes.value), bytes_text(d.ram_bytes.value))
            for d in found
        ]
        return table("", heads, rows)
    for one in found:
        print(f"{one.name}: {one.title}")
        print(f"  CPU: {one.cpu}\n  runtime: {one.runtime}\n  accepts: {', '.join(map(str, one.accepts))}")
        for label, figure in (("storage", one.storage_bytes), ("RAM", one.ram_bytes)):
            print(f"  {label}: {bytes_text(figure.value)} ({figure.standing}: {figure.source})")
        if one.notes:
            print(f"  {one.notes}")
    return None
