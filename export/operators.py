"""Which ONNX operators a target takes, and how: read off its rules, the expansions and onnx's schemas."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any, Literal

from edgewright.export.lowering import Lowerings, Rule

How = Literal["rule", "decomposed", "upgraded", "missing"]

METHODS = {"reshape": "RESHAPE", "transpose": "TRANSPOSE"}
"""Methods of a builder that write an operator of the target."""


@dataclass(frozen=True)
class Target:
    """`dtypes`: ONNX's names of the element types that it computes with; `int8`: ONNX operators that it computes in
    int8; `writes`: its own operators; `reasons`: why an ONNX operator is missing."""

    rules: Lowerings
    dtypes: frozenset[str]
    int8: Collection[str]
    writes: Collection[str]
    reasons: Mapping[str, str]


@dataclass(frozen=True)
class Operator:
    """An ONNX operator on a target. `versions`: the opsets that changed it; `dtypes`: of its inputs, those that the
    target computes with; `becomes`: the target's operators that its rule may write; `reason`: why it is missing."""

    op_type: str
    how: How
    versions: tuple[int, ...]
    dtypes: tuple[str, ...]
    becomes: tuple[str, ...]
    int8: bool
    reason: str


def operators(target: Target) -> list[Operator]:
    """Every operator of onnx's own domain, by name."""
    import onnx.defs

    history: dict[str, list[Any]] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == "":
            history.setdefault(schema.name, []).append(schema)
    return [
        _operator(target, name, sorted(schemas, key=lambda schema: schema.since_version))
        for name, schemas in sorted(history.items())
    ]


def _operator(target: Target, name: str, schemas: list[Any]) -> Operator:
    rule = target.rules.rules().get(name)
    how = _how(target, name, schemas[-1])
    reason = target.reasons.get(name, "no lowering yet") if how == "missing" else ""
    becomes = tuple(sorted(_written(rule, target.writes))) if rule is not None else ()
    versions = tuple(schema.since_version for schema in schemas)
    return Operator(name, how, versions, _dtypes(schemas[-1], target), becomes, name in target.int8, reason)


def _how(target: Target, name: str, schema: Any) -> How:
    """By a rule, else by other operators, or by the operator that took its place."""
    from edgewright.export.onnx.decompose import EXPANSIONS

    if name in target.rules.rules():
        return "rule"
    if name in EXPANSIONS.rules():
        return "decomposed"
    if schema.deprecated:
        return "upgraded"
    body = schema.has_function or schema.has_context_dependent_function
    return "decomposed" if body and name not in target.reasons else "missing"


def _dtypes(schema: Any, target: Target) -> tuple[str, ...]:
    """Of the element types that any input (or, without inputs, output) may have, those of the target."""
    ends = schema.inputs or schema.outputs
    known = {kind.removeprefix("tensor(").removesuffix(")").upper() for end in ends for kind in end.types}
    return tuple(sorted("float32" if kind == "FLOAT" else kind.lower() for kind in known & target.dtypes))


def _written(rule: Rule, names: Collection[str]) -> set[str]:
    """The operators that the code of a rule names, or that of functions that it calls, or the rows that it looks up."""
    package = rule.function.__module__.rsplit(".", 2)[0]
    return {name for function in _called(rule.function, package) for name in _named(function, rule.op_type, names)}


def _called(function: Callable[..., Any], package: str) -> Iterator[FunctionType]:
    """A function and those of its package that it may call, methods of the classes that it names too, each once."""
    waiting: list[Any] = [function]
    seen: set[FunctionType] = set()
    while waiting:
        current = waiting.pop()
        if isinstance(current, type):
            waiting += vars(current).values()
        if not isinstance(current, FunctionType) or current in seen:
            continue
        seen.add(current)
        yield current
        found = (current.__globals__.get(name) for code in _codes(current.__code__) for name in code.co_names)
        waiting += [each for each in found if str(getattr(each, "__module__", "")).startswith(package)]


def _named(function: FunctionType, op_type: str, names: Collection[str]) -> Iterator[str]:
    for code in _codes(function.__code__):
        yield from (name for name in _texts(code.co_consts) if name in names)
        for name in code.co_names:
            if name in METHODS:
                yield METHODS[name]
            rows = function.__globals__.get(name)
            row = rows.get(op_type) if isinstance(rows, Mapping) else None
            yield from (each for each in _texts((row,)) if each in names)


def _codes(code: CodeType) -> Iterator[CodeType]:
    """With those of inner functions."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _texts(values: tuple[Any, ...]) -> Iterator[str]:
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, tuple):
            yield from _texts(value)
