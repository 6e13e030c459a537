"""Weights that an ONNX file holds as a table and packed indices: what unpacks them is no work of an inference."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from edgewright.runtimes.dtypes import elements
from edgewright.runtimes.read.model import Tensor

UNPACKING = {"BitShift", "BitwiseAnd", "BitwiseOr", "Cast", "Add", "Slice", "Reshape", "Gather", "Transpose"}


def with_tables(nodes: Iterable[Any], tensors: dict[str, Tensor]) -> tuple[list[Any], dict[str, Tensor]]:
    """indices → … → Gather(table) → w → op  ⇒  w → op, where w is a constant with the bytes of all that makes it.

    A runtime that folds constants does so when it loads the file.
    """
    made = _made_of_constants(nodes, tensors)
    looked_up: set[str] = set()
    for node in made.values():
        begins = node.op_type == "Gather" and node.input[1] in made and _is_table(tensors[node.input[0]])
        if begins or (node.op_type in ("Reshape", "Transpose") and node.input[0] in looked_up):
            looked_up.add(node.output[0])
    read = {name for node in nodes if not node.output or node.output[0] not in made for name in node.input}
    weights = looked_up & read
    sources = {name: _behind(name, made) for name in weights}
    gone = {name for found in sources.values() for name in found if name in made}
    described = {
        name: replace(
            tensors[name],
            constant=True,
            coding="palettized",
            bytes=sum(tensors[source].bytes for source in found if source not in made),
        )
        for name, found in sources.items()
    }
    return [node for node in nodes if not node.output or node.output[0] not in gone], tensors | described


def _made_of_constants(nodes: Iterable[Any], tensors: dict[str, Tensor]) -> dict[str, Any]:
    """The nodes by what they give, in order."""
    made: dict[str, Any] = {}
    for node in nodes:
        if node.op_type in UNPACKING and all(tensors[name].constant or name in made for name in node.input if name):
            made[node.output[0]] = node
    return made


def _is_table(tensor: Tensor) -> bool:
    return len(tensor.shape) == 1 and tensor.dtype.startswith("float") and elements(tensor.shape) > 0


def _behind(name: str, made: dict[str, Any]) -> set[str]:
    """Everything that a value is made of, itself too."""
    found, todo = set(), [name]
    while todo:
        each = todo.pop()
        if each not in found:
            found.add(each)
            todo += list(made[each].input) if each in made else []
    return found - {""}
