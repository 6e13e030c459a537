"""A saved package → instructions that can run: constants decoded, operations checked, names resolved."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgewright.errors import BadModel, UnsupportedOps
from edgewright.runtimes.mil.constants import decode
from edgewright.runtimes.mil.operators import RENAMED, Operator, operations
from edgewright.runtimes.read.mil_proto import Weights, dtype_of, load_spec, shape_of

BLOCKS = {"cond": 2, "while_loop": 2}  # blocks of control flow
STATES = ("read_state", "write_state")
VARIADIC = ("values", "loop_vars", "ref_tensors", "begins", "ends", "end_masks")
HELD = {
    "float16": "float32", "float32": "float32", "float64": "float64", "int8": "int8", "uint8": "uint8",
    "int16": "int16", "uint16": "int32", "int32": "int32", "uint32": "int64", "int64": "int64", "bool": "bool",
    "int4": "int8", "uint1": "uint8", "uint2": "uint8", "uint3": "uint8", "uint4": "uint8", "uint6": "uint8",
}  # fmt: skip
"""How values of each declared type are held: torch computes with few types, and float16 is a rounding of float32."""


@dataclass(frozen=True)
class Ref:
    name: str


@dataclass(frozen=True)
class Value:
    """An input or result: its declared type ("": no tensor) and shape (None: any length; no shape: of any rank)."""

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True)
class Instruction:
    """One operation; `arguments` are constants, `Ref`s, and lists of both. `done` is read here for the last time."""

    type: str
    operator: Operator | None
    arguments: Mapping[str, Any]
    outputs: tuple[Value, ...]
    blocks: tuple["Block", ...]
    done: tuple[str, ...] = ()


@dataclass(frozen=True)
class Block:
    inputs: tuple[str, ...]
    outputs: tuple[Any, ...]  # Refs, or constants
    instructions: tuple[Instruction, ...]


@dataclass(frozen=True)
class Program:
    path: Path
    function: str
    inputs: tuple[Value, ...]
    states: tuple[Value, ...]
    outputs: tuple[str, ...]
    body: Block
    metadata: Mapping[str, str]
    functions: tuple[str, ...]


def open_program(path: Path, function: str | None = None) -> Program:
    """One function of an .mlpackage (its default one unless named), ready to run.

    Raises BadModel on a damaged package or an unknown function, UnsupportedOps listing all operations that are not
    known or not known in this form, MissingExtra without coremltools.
    """
    spec, folder = load_spec(path)
    functions = spec.mlProgram.functions
    name = function or spec.description.defaultFunctionName or "main"
    if name not in functions:
        raise BadModel(f"{path}: no function {name!r}; it has {', '.join(sorted(functions))}")
    chosen = functions[name]
    block = chosen.block_specializations[chosen.opset]
    reader = _Reader(Weights(folder), path)
    body = reader.block(block, {})
    reader.raise_problems()
    values = [(value, value.type.WhichOneof("type")) for value in chosen.inputs]
    return Program(
        path,
        name,
        tuple(_value(value) for value, kind in values if kind != "stateType"),
        tuple(_value(value) for value, kind in values if kind == "stateType"),
        tuple(block.outputs),
        body,
        dict(spec.description.metadata.userDefined),
        tuple(sorted(functions)),
    )


class _Reader:
    """Blocks → instructions; collects what is not known."""

    def __init__(self, weights: Weights, path: Path) -> None:
        self._weights = weights
        self._path = path
        self._run, self._decode = operations()
        self._missing: dict[str, tuple[str, list[str]]] = {}

    def block(self, block: Any, outer: Mapping[str, Any]) -> Block:
        """`outer`: constants by name, arrays still, of the blocks around."""
        constants = dict(outer)
        instructions = [made for op in block.operations if (made := self._operation(op, constants)) is not None]
        outputs = tuple(_held(constants[name]) if name in constants else Ref(name) for name in block.outputs)
        return Block(tuple(v.name for v in block.inputs), outputs, _with_lifetimes(instructions, block.outputs))

    def raise_problems(self) -> None:
        if self._missing:
            raise UnsupportedOps(f"{self._path}: edgewright's evaluator of ML programs", self._missing)

    def _operation(self, op: Any, constants: dict[str, Any]) -> Instruction | None:
        outputs = tuple(_value(value) for value in op.outputs)
        name = outputs[0].name if outputs else op.type
        if op.type == "const":
            constants[name] = decode(op.attributes["val"], self._weights)
            return None
        arguments = self._arguments(op, constants)
        if op.type in self._decode:
            self._decoded(op.type, name, arguments, outputs, constants)
            return None
        operator = self._run.get(op.type)
        self._check(op.type, name, operator, set(arguments))
        blocks = tuple(self.block(each, constants) for each in op.blocks)
        held = {key: _held(value) for key, value in arguments.items()}
        return Instruction(op.type, operator, held, outputs, blocks)

    def _arguments(self, op: Any, constants: Mapping[str, Any]) -> dict[str, Any]:
        """Attributes and inputs by name: arrays, strings, references, and lists of these."""
        found: dict[str, Any] = {
            RENAMED.get(key, key): decode(value, self._weights) for key, value in op.attributes.items() if key != "name"
        }
        for key, argument in op.inputs.items():
            values = [
                decode(binding.value, self._weights)
                if binding.WhichOneof("binding") == "value"
                else constants.get(binding.name, Ref(binding.name))
                for binding in argument.arguments
            ]
            found[RENAMED.get(key, key)] = values if key in VARIADIC else values[0]
        return found

    def _decoded(
        self, kind: str, name: str, arguments: dict[str, Any], outputs: Sequence[Value], constants: dict[str, Any]
    ) -> None:
        operator = self._decode[kind]
        if self._check(kind, name, operator, set(arguments)):
            results = operator.function(**arguments)
            for output, result in zip(outputs, results if isinstance(results, tuple) else (results,), strict=True):
                constants[output.name] = result

    def _check(self, kind: str, name: str, operator: Operator | None, given: set[str]) -> bool:
        if operator is None and kind not in (*BLOCKS, *STATES):
            problems = ["not implemented"]
        else:
            problems = operator.problems(given) if operator is not None else []
        for problem in problems:
            self._missing.setdefault(kind, (problem, []))[1].append(name)
        return not problems


def _value(value: Any) -> Value:
    kind = value.type
    if kind.WhichOneof("type") == "stateType":
        kind = kind.stateType.wrappedType
    if kind.WhichOneof("type") != "tensorType":
        return Value(value.name, "", None)
    if any(length.unknown.variadic for length in kind.tensorType.dimensions):
        return Value(value.name, dtype_of(kind.tensorType.dataType), None)
    return Value(value.name, dtype_of(kind.tensorType.dataType), shape_of(kind.tensorType))


def _held(value: Any) -> Any:
    """Arrays → tensors as they are computed with; all else as it is."""
    if isinstance(value, list):
        return [_held(item) for item in value]
    if not isinstance(value, np.ndarray):
        return value
    return torch.from_numpy(value.astype(HELD[value.dtype.name]))


def _with_lifetimes(instructions: Sequence[Instruction], outputs: Iterable[str]) -> tuple[Instruction, ...]:
    """Each with the names that nobody reads after it."""
    needed, made, finished = set(outputs), {v.name for i in instructions for v in i.outputs}, []
    for each in reversed(instructions):
        names = {v.name for v in each.outputs} | _reads(each)
        done = tuple(sorted(name for name in names if name in made and name not in needed))
        needed |= names
        finished.append(Instruction(each.type, each.operator, each.arguments, each.outputs, each.blocks, done))
    return tuple(reversed(finished))


def _reads(instruction: Instruction) -> set[str]:
    values = [item for v in instruction.arguments.values() for item in (v if isinstance(v, list) else [v])]
    for block in instruction.blocks:
        values += [*block.outputs, *(Ref(name) for inner in block.instructions for name in _reads(inner))]
    return {value.name for value in values if isinstance(value, Ref)}
