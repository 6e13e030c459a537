"""`edgewright compare`."""

import dataclasses
from typing import Annotated

import typer

from edgewright.cli.console import Json, RuntimeName, Threads, Trust, emit, progress


def command(
    a: Annotated[str, typer.Argument(metavar="A")],
    b: Annotated[str, typer.Argument(metavar="B")],
    threads: Threads = 1,
    runtime: RuntimeName = None,
    trust: Trust = False,
    json_: Json = False,
) -> None:
    """Which of two artifacts is faster here: interleaved, with a verdict only outside the noise.

    Example: edgewright compare float32.tflite int8.tflite
    """
    from edgewright import api

    found = api.compare(a, b, threads=threads, runtime=runtime, trust=trust, progress=progress())
    if json_:
        return emit(dataclasses.asdict(found) | {"faster": found.faster, "verdict": found.verdict})
    print(f"A {a} ({found.runtime_a}): {found.median_ms[0]:.3f} ms")
    print(f"B {b} ({found.runtime_b}): {found.median_ms[1]:.3f} ms")
    print(found.verdict)
    return None
