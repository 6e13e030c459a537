"""`edgewright fit`."""

from typing import Annotated

import typer

from edgewright.cli.console import Json, emit


def command(
    artifact: Annotated[str, typer.Argument(metavar="ARTIFACT")],
    for_: Annotated[str, typer.Option("--for", metavar="DEVICE[,DEVICE…]", help="Devices, see `edgewright devices`.")],
    json_: Json = False,
) -> None:
    """Whether an artifact fits devices: FITS, TIGHT or NO, and why; exit 1 when it fits none.

    Example: edgewright fit int8.tflite --for nrf5340,wear-os-w5
    """
    from edgewright import api

    fits = api.fit(artifact, [name for name in for_.split(",") if name])
    if json_:
        emit([fit.to_dict() for fit in fits])
    else:
        for fit in fits:
            print(f"{fit.device}: {fit.verdict}")
            for line in fit.lines:
                print(f"  {line.resource}: {line.reason}")
    raise typer.Exit(0 if any(fit.verdict in ("FITS", "TIGHT") for fit in fits) else 1)
