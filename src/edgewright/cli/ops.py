"""`edgewright ops`."""

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from edgewright.cli.console import Json, emit, table

if TYPE_CHECKING:
    from edgewright.export.operators import Operator


def command(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="tflite or coreml.")],
    json_: Json = False,
) -> None:
    """Every ONNX operator: since which opset, its element types, what it becomes, or why it is missing.

    Example: edgewright ops tflite
    """
    from edgewright import api

    found = api.ops(target)
    if json_:
        return emit([dataclasses.asdict(operator) for operator in found])
    rows = [
        (o.op_type, ",".join(map(str, o.versions)), " ".join(o.dtypes), "yes" if o.int8 else "", _how(o)) for o in found
    ]
    taken = sum(o.how != "missing" for o in found)
    table(f"{taken} of {len(found)} operators", ["operator", "opsets", "element types", "int8", "becomes"], rows)
    return None


def _how(operator: "Operator") -> str:
    if operator.how == "missing":
        return f"missing: {operator.reason}"
    return " ".join(operator.becomes) or operator.how
