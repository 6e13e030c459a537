"""What a package holds, for these tests."""

from pathlib import Path
from typing import Any

from edgewright.runtimes.read.mil_proto import load_spec


def read_spec(package: Path) -> Any:
    return load_spec(package)[0]


def operations(package: Path) -> list[Any]:
    function = read_spec(package).mlProgram.functions["main"]
    return list(function.block_specializations[function.opset].operations)


def op_types(package: Path) -> list[str]:
    return [op.type for op in operations(package) if op.type != "const"]
