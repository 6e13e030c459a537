"""`edgewright ops`."""

import dataclasses
from typing import Annotated

import typer

from edgewright.cli.console import Json, emit, table


def command(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="tflite or coreml.")],
    json_: Json = False,
) -> None:
    """The ONNX operators that a target takes.

    Example: edgewright ops tflite
    """
    from edgewright import api

    found = api.ops(target)
    if json_:
        return emit([dataclasses.asdict(operator) for operator in found])
    return table("", ["operator", "layout", "lowered by"], [(o.op_type, o.layout, o.owner) for o in found])
