"""The user's factory: `package.module:factory` or `path/to/file.py:factory`, imported because the user named it.

A factory takes no arguments and returns an `nn.Module`, or `(module, example_inputs)` where the examples are a tensor,
a tuple of tensors in the order of `forward`, or a dict by input name. First axes are the batch, 1 as a rule.
"""

import ast
import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from edgewright.errors import BadModel

USER = "_edgewright_user_"
"""The name that a file is imported under starts so: no package of the user is called that."""


@dataclass(frozen=True)
class Factory:
    """A named function of the user's code. `digest` covers its file and the files that it imports from its folder."""

    reference: str
    function: Callable[..., Any]
    digest: str


@dataclass(frozen=True)
class Product:
    """What a factory made: the module in eval mode and its example inputs by name (empty: the data must tell)."""

    module: nn.Module
    example_inputs: dict[str, Tensor]


def find(reference: str) -> Factory:
    """Import a function by reference. Raises BadModel when the file, the import or the name fails."""
    place, _, name = reference.rpartition(":")
    if not place or not name:
        raise BadModel(f"{reference!r}: write package.module:function or path/to/file.py:function")
    path = Path(place)
    try:
        module = _import_file(path) if path.suffix == ".py" else importlib.import_module(place)
    except BadModel:
        raise
    except Exception as error:
        raise BadModel(f"{reference}: importing it raised {type(error).__name__}: {error}") from error
    function = getattr(module, name, None)
    if not callable(function):
        public = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise BadModel(f"{place} has no function {name!r}; it has {', '.join(sorted(public)) or 'none'}")
    if path.suffix == ".py":
        reference = f"{path.resolve()}:{name}"
    return Factory(reference, function, _digest(module))


def make(factory: Factory) -> Product:
    """Call a factory. Raises BadModel when it raises, or gives anything but a module."""
    try:
        made = factory.function()
    except Exception as error:
        raise BadModel(f"{factory.reference} raised {type(error).__name__}: {error}") from error
    module, examples = made if isinstance(made, tuple) and len(made) == 2 else (made, {})
    if not isinstance(module, nn.Module):
        raise BadModel(
            f"{factory.reference} gave {type(module).__name__}, wanted an nn.Module or (module, example_inputs)"
        )
    return Product(module.eval(), _by_name(module, examples, factory.reference))


def _by_name(module: nn.Module, examples: Any, reference: str) -> dict[str, Tensor]:
    """Examples in the order of `forward`'s parameters, so that calling by position is safe.

    Names of a dict are those of the parameters, in any order; or all are the user's own, in the parameters' order.
    """
    names = list(inspect.signature(module.forward).parameters)
    if isinstance(examples, Tensor):
        examples = (examples,)
    if not isinstance(examples, Mapping):
        examples = dict(zip(names, examples))
    strange = [name for name in examples if name not in names]
    problems = [f"{name} is no tensor" for name, example in examples.items() if not isinstance(example, Tensor)]
    if strange and len(strange) < len(examples):
        problems.append(f"{', '.join(strange)} is no parameter of forward({', '.join(names)})")
    if problems:
        raise BadModel(f"{reference}: example inputs: {'; '.join(problems)}")
    return dict(examples) if strange else {name: examples[name] for name in names if name in examples}


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise BadModel(f"{path}: no such file")
    # A name of its own, so that two files called model.py do not meet; the folder serves the file's own imports.
    name = f"{USER}{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise BadModel(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        sys.path.remove(str(path.parent.resolve()))
    return module


def _digest(module: ModuleType) -> str:
    """Over the module's file and those of its own folder (or package) that it imports, directly or not."""
    file = Path(module.__file__ or "").resolve()
    depth = module.__name__.count(".") if not module.__name__.startswith(USER) else 0
    folder = file.parents[max(depth - 1, 0)]
    files: set[Path] = set()
    waiting = [file]
    while waiting:
        source = waiting.pop()
        if source.is_file() and source.is_relative_to(folder) and source not in files:
            files.add(source)
            waiting += _imported(source, folder)
    total = hashlib.sha256()
    for source in sorted(files):
        total.update(source.relative_to(folder).as_posix().encode() + b"\0" + source.read_bytes())
    return total.hexdigest()


def _imported(source: Path, folder: Path) -> list[Path]:
    """Where the files named by the import statements of `source` would lie below `folder`."""
    candidates: list[Path] = []
    for node in ast.walk(ast.parse(source.read_bytes())):
        if isinstance(node, ast.Import):
            places = [(root, alias.name) for alias in node.names for root in (folder, folder.parent)]
        elif isinstance(node, ast.ImportFrom):
            roots = (source.parents[node.level - 1],) if node.level else (folder, folder.parent)
            names = [node.module or "", *(f"{node.module or ''}.{alias.name}".strip(".") for alias in node.names)]
            places = [(root, name) for name in names for root in roots]
        else:
            continue
        for root, name in places:
            base = root.joinpath(*filter(None, name.split(".")))
            candidates += [base.with_suffix(".py"), base / "__init__.py"]
    return candidates
