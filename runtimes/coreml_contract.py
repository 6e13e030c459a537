"""What a Core ML package says of its inputs and outputs: its contract, and names that its program had to change."""

import json
from collections.abc import Mapping
from pathlib import Path

from edgewright.runtimes.contract import CONTRACT_KEY, NAMES_KEY, Contract


def contract_of(path: Path, metadata: Mapping[str, str]) -> Contract:
    """The stored contract; of a package from elsewhere what the file itself declares."""
    stored = metadata.get(CONTRACT_KEY)
    if stored:
        return Contract.from_json(stored)
    from edgewright.runtimes.read import read

    return read(path).contract


def names_in_file(metadata: Mapping[str, str]) -> dict[str, str]:
    """Names of the graph → names in the file, for those that differ."""
    in_file: dict[str, str] = json.loads(metadata.get(NAMES_KEY, "{}"))
    return {graph: file for file, graph in in_file.items()}
