"""`edgewright run`."""

from pathlib import Path
from typing import Annotated

import typer

from edgewright.cli.console import Json, RuntimeName, Threads, Trust, emit, progress


def command(
    artifact: Annotated[str, typer.Argument(metavar="ARTIFACT", help="Any model file that can run here.")],
    data: Annotated[str, typer.Option("--data", metavar="DATA", help="Samples: all of them are run.")],
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write the outputs to this .npz.")] = None,
    runtime: RuntimeName = None,
    threads: Threads = 1,
    trust: Trust = False,
    json_: Json = False,
) -> None:
    """The model's outputs for samples, whatever its format.

    Example: edgewright run model.tflite --data samples.npz --out outputs.npz
    """
    from edgewright import api

    outputs = api.run(artifact, data, out=out, threads=threads, runtime=runtime, trust=trust, progress=progress())
    if json_:
        return emit({name: {"shape": array.shape, "dtype": str(array.dtype)} for name, array in outputs.items()})
    for name, array in outputs.items():
        print(f"{name}: {'×'.join(map(str, array.shape))} {array.dtype}")
        if out is None:
            print(array)
    if out is not None:
        print(f"written to {out}")
    return None
