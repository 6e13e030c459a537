"""The registry of operations: a function's parameters are the operation's inputs, its defaults coremltools'."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, TypeVar

from edgewright.errors import Error

Function = Callable[..., Any]
F = TypeVar("F", bound=Function)
SUMS = "sums"  # a parameter of this name gets the sums of products in the precision that is asked for
RENAMED = {"input": "x"}  # a name that Python wants for itself


@dataclass(frozen=True)
class Operator:
    function: Function
    parameters: Mapping[str, bool]  # name → required
    sums: bool

    def problems(self, given: set[str]) -> list[str]:
        """What does not fit of the names of inputs that a program gives, in words."""
        unknown = sorted(given - self.parameters.keys())
        absent = sorted(name for name, required in self.parameters.items() if required and name not in given)
        found = [f"its parameter {name!r} is not known" for name in unknown]
        return found + [f"it lacks {name!r}" for name in absent]


class Operators:
    """Operations by the name that programs call them."""

    def __init__(self) -> None:
        self._found: dict[str, Operator] = {}

    def __call__(self, *names: str) -> Callable[[F], F]:
        def register(function: F) -> F:
            for name in names:
                self._add(name, function)
            return function

        return register

    def rows(self, table: Mapping[str, Function]) -> None:
        for name, function in table.items():
            self._add(name, function)

    def all(self) -> Mapping[str, Operator]:
        return MappingProxyType(self._found)

    def _add(self, name: str, function: Function) -> None:
        if name in self._found:
            raise Error(f"two functions for the operation {name!r}; the first is {self._found[name].function!r}")
        parameters = dict(inspect.signature(function).parameters)
        sums = parameters.pop(SUMS, None) is not None
        required = {key: row.default is inspect.Parameter.empty for key, row in parameters.items()}
        self._found[name] = Operator(function, MappingProxyType(required), sums)


OPERATION = Operators()
CONSTEXPR = Operators()
"""Those that decode constants: on numpy arrays, in the types that the file declares."""


@cache
def operations() -> tuple[Mapping[str, Operator], Mapping[str, Operator]]:
    """(what runs, what decodes constants), from every file of the folder `ops`."""
    package = importlib.import_module("edgewright.runtimes.mil.ops")
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
    return OPERATION.all(), CONSTEXPR.all()
