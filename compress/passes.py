"""Compression passes by name: one module of this folder that defines `PASS`; the file's presence registers it."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from edgewright.compress.training import Fit, Training, train_classifier
from edgewright.data import Samples
from edgewright.edits import Edit
from edgewright.progress import Progress, Silent

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Given:
    """What a pass may use beyond the module and its config.

    `example_inputs` are one call's float inputs by name. `train` and `validation` are parts of the data that share no
    sample, and never the test part. `fit` trains, with `finetune` as settings where the recipe has them. `cost` gives
    what a module costs (ms, or any unit that falls as channels go), for passes with a target in it. `teachers` and
    `student` are the modules that the config names. `scratch` is a folder that outlives a killed run, for what a long
    pass has done so far.
    """

    example_inputs: "Mapping[str, Tensor]"
    train: Samples | None = None
    validation: Samples | None = None
    finetune: Training | None = None
    fit: Fit = train_classifier
    cost: "Callable[[nn.Module], float] | None" = None
    progress: Progress = field(default_factory=Silent)
    teachers: "Sequence[nn.Module]" = ()
    student: "nn.Module | None" = None
    scratch: Path | None = None


@dataclass(frozen=True)
class Pass:
    """`function(module, config, given)` gives a changed copy and its edit.

    `config` is a frozen dataclass type; `needs` maps distribution names to the extra that installs them. `uses_data`
    says whether the result depends on the samples. `references` are the config's keys that name modules: factories
    or torch artifacts. A pass that `finetunes` uses `given.finetune` itself, and is not trained afterwards.
    """

    name: str
    config: type
    function: "Callable[[nn.Module, Any, Given], tuple[nn.Module, Edit]]"
    needs: Mapping[str, str]
    uses_data: bool = False
    references: tuple[str, ...] = ()
    finetunes: bool = False


@cache
def passes() -> Mapping[str, Pass]:
    """Every pass of this folder by name."""
    package = importlib.import_module("edgewright.compress")
    names = [info.name for info in pkgutil.iter_modules(package.__path__, "edgewright.compress.")]
    found = [getattr(importlib.import_module(name), "PASS", None) for name in names]
    return MappingProxyType({each.name: each for each in found if isinstance(each, Pass)})
