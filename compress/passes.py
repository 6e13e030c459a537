"""Compression passes by name: one module of this folder that defines `PASS`; the file's presence registers it."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from edgewright.edits import Edit

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Pass:
    """`function(module, config, example_inputs)` gives a changed copy and its edit.

    `config` is a frozen dataclass type; `needs` maps distribution names to the extra that installs them.
    """

    name: str
    config: type
    function: "Callable[[nn.Module, Any, Mapping[str, Tensor]], tuple[nn.Module, Edit]]"
    needs: Mapping[str, str]


@cache
def passes() -> Mapping[str, Pass]:
    """Every pass of this folder by name."""
    package = importlib.import_module("edgewright.compress")
    names = [info.name for info in pkgutil.iter_modules(package.__path__, "edgewright.compress.")]
    found = [getattr(importlib.import_module(name), "PASS", None) for name in names]
    return MappingProxyType({each.name: each for each in found if isinstance(each, Pass)})
