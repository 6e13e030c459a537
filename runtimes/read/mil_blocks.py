"""An ML program as it is written: operations, their parameters, nested blocks and declared types; nothing is run."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgewright.errors import BadModel
from edgewright.runtimes.dtypes import dense_bytes, elements
from edgewright.runtimes.read.mil_proto import Weights, dtype_of, load_spec, shape_of

Literal = tuple[float | int | bool, ...] | str
LONGEST_LITERAL = 64
CONSTEXPR = "constexpr_"


@dataclass(frozen=True)
class Value:
    """An input or a result as declared; a length of None is not fixed. `dtype` is "" for what is no tensor."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str

    @property
    def bytes(self) -> int:
        """Dense, a length that is not fixed counted as 1."""
        return dense_bytes(self.shape, self.dtype)


@dataclass(frozen=True)
class Constant:
    """`stored_bytes` is what the package holds; `packed`: an operation decodes it, from other constants too."""

    stored_bytes: int
    packed: bool


@dataclass(frozen=True)
class Operation:
    """`inputs` names values and constants by parameter; `parameters` has the short constants themselves."""

    type: str
    inputs: Mapping[str, tuple[str, ...]]
    parameters: Mapping[str, Literal]
    outputs: tuple[Value, ...]
    blocks: tuple["Block", ...]

    @property
    def name(self) -> str:
        return self.outputs[0].name if self.outputs else self.type

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(name for names in self.inputs.values() for name in names)


@dataclass(frozen=True)
class Block:
    inputs: tuple[Value, ...]
    operations: tuple[Operation, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Program:
    """One function. `values` has every input and result by name, nested ones too, and the constants as declared."""

    opset: str
    inputs: tuple[Value, ...]
    states: tuple[Value, ...]
    block: Block
    values: Mapping[str, Value]
    constants: Mapping[str, Constant]

    def walk(self) -> Iterator[tuple[Operation, tuple[str, ...]]]:
        """Every operation in order with the types of the operations around it; nested ones follow theirs."""
        yield from _walk(self.block, ())


def read_program(package: Path) -> Program:
    """The default function of a package. Raises BadModel on a damaged one, MissingExtra without coremltools."""
    spec, folder = load_spec(package)
    name = spec.description.defaultFunctionName or "main"
    function = spec.mlProgram.functions[name]
    block = function.block_specializations[function.opset]
    if not block.outputs:
        raise BadModel(f"{package}: its program has no {name} function for {function.opset or 'any opset'}")
    reader = _Reader(Weights(folder))
    ends = [(reader.declared(value), value.type.WhichOneof("type") == "stateType") for value in function.inputs]
    body = reader.block(block)
    inputs, states = (tuple(value for value, is_state in ends if is_state is wanted) for wanted in (False, True))
    return Program(function.opset, inputs, states, body, reader.values, reader.constants)


class _Reader:
    def __init__(self, weights: Weights) -> None:
        self.values: dict[str, Value] = {}
        self.constants: dict[str, Constant] = {}
        self._literals: dict[str, Literal] = {}
        self._weights = weights

    def declared(self, named: Any) -> Value:
        kind = named.type
        if kind.WhichOneof("type") == "stateType":
            kind = kind.stateType.wrappedType
        tensor = kind.tensorType
        is_tensor = kind.WhichOneof("type") == "tensorType"
        dtype = dtype_of(tensor.dataType) if is_tensor else ""
        value = Value(named.name, shape_of(tensor), "" if dtype == "string" else dtype)
        self.values[value.name] = value
        return value

    def block(self, block: Any) -> Block:
        inputs = tuple(self.declared(value) for value in block.inputs)
        read = (self._operation(operation) for operation in block.operations)
        return Block(inputs, tuple(operation for operation in read if operation is not None), tuple(block.outputs))

    def _operation(self, operation: Any) -> Operation | None:
        """None for a constant, and for what decodes one."""
        outputs = tuple(self.declared(value) for value in operation.outputs)
        if operation.type == "const":
            self._constant(outputs[0], operation.attributes["val"])
            return None
        given = {key: tuple(argument.arguments) for key, argument in operation.inputs.items()}
        if operation.type.startswith(CONSTEXPR):
            parts = [binding for bindings in given.values() for binding in bindings]
            stored = sum(self._stored_bytes(part) for part in parts)
            stored += sum(
                self._weights.stored_bytes(part) for key, part in operation.attributes.items() if key != "name"
            )
            self.constants |= {value.name: Constant(stored, True) for value in outputs[:1]}
            self.constants |= {value.name: Constant(0, True) for value in outputs[1:]}
            return None
        names = {key: tuple(each.name for each in bindings if each.name) for key, bindings in given.items()}
        literals = {key: literal for key, bindings in given.items() if (literal := self._literal(bindings)) is not None}
        return Operation(operation.type, names, literals, outputs, tuple(map(self.block, operation.blocks)))

    def _constant(self, value: Value, stored: Any) -> None:
        if value.dtype:
            self.constants[value.name] = Constant(self._weights.stored_bytes(stored), False)
        literal = self._read_literal(value.dtype, value.shape, stored)
        if literal is not None:
            self._literals[value.name] = literal

    def _stored_bytes(self, binding: Any) -> int:
        if binding.WhichOneof("binding") == "value":
            return self._weights.stored_bytes(binding.value)
        return self.constants[binding.name].stored_bytes

    def _literal(self, bindings: tuple[Any, ...]) -> Literal | None:
        if len(bindings) != 1:
            return None
        if bindings[0].WhichOneof("binding") != "value":
            return self._literals.get(bindings[0].name)
        kind = bindings[0].value.type.tensorType
        dtype = dtype_of(kind.dataType)
        return self._read_literal("" if dtype == "string" else dtype, shape_of(kind), bindings[0].value)

    def _read_literal(self, dtype: str, shape: tuple[int | None, ...], stored: Any) -> Literal | None:
        if not dtype:
            strings = stored.immediateValue.tensor.strings.values
            return str(strings[0]) if len(strings) == 1 else None
        if elements(shape) > LONGEST_LITERAL or dtype.removeprefix("u") in ("int1", "int2", "int3", "int4", "int6"):
            return None
        return tuple(self._weights.numbers(stored).tolist())


def _walk(block: Block, around: tuple[str, ...]) -> Iterator[tuple[Operation, tuple[str, ...]]]:
    for operation in block.operations:
        yield operation, around
        for inner in operation.blocks:
            yield from _walk(inner, (*around, operation.type))


def used(operations: Iterable[Operation]) -> frozenset[str]:
    """Names that these operations read or hand on, in nested blocks too."""
    names: set[str] = set()
    for operation in operations:
        names.update(operation.reads)
        for block in operation.blocks:
            names |= used(block.operations) | set(block.outputs)
    return frozenset(names)
