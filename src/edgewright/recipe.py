"""`edgewright.toml`: a whole build in one file. Strict: an unknown key is an error that names the nearest known one.

model = "watch.py:watch_cnn"          # factory, .pt2 or .onnx; paths are relative to this file
data = "watch.npz"                    # DATA
devices = ["apple-watch-s9"]          # what to build for
precisions = ["float32", "int8"]
seed = 0
[preprocess]                          # folded into the model: (raw × scale - mean) / std
[train]                               # optional: train first
[[compress]]                          # passes, in order
pass = "prune"
amount = 0.5
finetune = { epochs = 10 }
[qat]                                 # fine-tune the int8 model on its grids
epochs = 10
[metadata]                            # what apps read off .tflite and .mlpackage files
name = "Watch gestures"
labels = "labels.txt"                 # one a line
[budget]                              # build fails (exit 1) when an artifact misses it
[shapes]                              # of an .onnx model's inputs; "1?" or "1..8" keeps a length open for apps
image = ["1?", 3, 224, 224]
[options.quantize]                    # choices of a step, by its name
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from edgewright.compress.passes import passes
from edgewright.compress.training import Training
from edgewright.devices.device import Budget, device
from edgewright.devices.spec import Precision
from edgewright.errors import BadInput, BadRecipe, Error, nearest
from edgewright.export.metadata import Metadata, read_labels
from edgewright.export.onnx.passes.batch import InputShape, input_shapes
from edgewright.export.onnx.quantize.options import QuantizeOptions
from edgewright.export.onnx.quantize.qat import Qat
from edgewright.export.steps import steps
from edgewright.runtimes.module.preprocess import Preprocess

T = TypeVar("T")
TYPES: Mapping[str, type] = {
    "model": str, "data": str, "devices": list, "precisions": list, "seed": int, "preprocess": dict, "train": dict,
    "compress": list, "qat": dict, "metadata": dict, "shapes": dict, "budget": dict,
    "options": dict,
}  # fmt: skip
KINDS = {str: "text", list: "a list", int: "a whole number", dict: "a table"}
BUILT = (Precision.FLOAT32, Precision.FLOAT16, Precision.INT8)


@dataclass(frozen=True)
class Compress:
    """One compression pass with its settings, and how to fine-tune after it."""

    name: str
    config: Any
    finetune: Training | None = None


@dataclass(frozen=True)
class Recipe:
    """What to build, from what, for what, within which budget."""

    model: str
    data: str | None = None
    devices: tuple[str, ...] = ()
    precisions: tuple[Precision, ...] = BUILT
    seed: int = 0
    preprocess: Preprocess | None = None
    train: Training | None = None
    train_function: str | None = None
    compress: tuple[Compress, ...] = ()
    metadata: Metadata | None = None
    shapes: Mapping[str, InputShape] = field(default_factory=dict)
    budget: Budget = field(default_factory=Budget)
    options: Mapping[str, Any] = field(default_factory=dict)


def read_recipe(path: Path) -> Recipe:
    """Raises one BadRecipe that lists everything wrong with the file."""
    try:
        raw = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadRecipe(f"{path}: {error}") from None
    return _Reader(path).recipe(raw)


class _Reader:
    """Collects the problems of one file while its sections are read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._problems: list[str] = []

    def recipe(self, raw: dict[str, Any]) -> Recipe:
        self._unknown(raw, TYPES, "")
        raw = self._well_typed(raw)
        if not isinstance(raw.get("model"), str):
            self._problems.append("model is missing: a factory (file.py:function), a .pt2 or an .onnx")
        train = dict(raw["train"]) if "train" in raw else None
        function = train.pop("function", None) if train is not None else None
        settings = {
            "model": self._near(str(raw.get("model"))),
            "data": self._near(raw["data"]) if "data" in raw else None,
            "devices": tuple(
                self._try(lambda name=name: device(name).name, "devices") for name in raw.get("devices", ())
            ),
            "precisions": tuple(
                self._try(lambda p=p: named_precision(p), "precisions") for p in raw.get("precisions", BUILT)
            ),
            "seed": raw.get("seed", 0),
            "preprocess": self._section(Preprocess, raw["preprocess"], "preprocess") if "preprocess" in raw else None,
            "train": self._section(Training, train, "train") if train is not None else None,
            "train_function": self._near(function) if function else None,
            "compress": tuple(self._compress(row, i) for i, row in enumerate(raw.get("compress", ()))),
            "metadata": self._metadata(raw["metadata"], "preprocess" in raw) if "metadata" in raw else None,
            "shapes": self._shapes(raw.get("shapes", {})),
            "budget": self._section(Budget, raw.get("budget", {}), "budget"),
            "options": self._options(raw.get("options", {}), raw.get("qat")),
        }
        if self._problems:
            raise BadRecipe(f"{self._path}: " + "; ".join(self._problems))
        return Recipe(**settings)

    def _well_typed(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """The known keys that have the type they need."""
        kept = {}
        for name, kind in TYPES.items():
            if name in raw and (not isinstance(raw[name], kind) or isinstance(raw[name], bool)):
                self._problems.append(f"{name} is {raw[name]!r}, wanted {KINDS[kind]}")
            elif name in raw:
                kept[name] = raw[name]
        return kept

    def _compress(self, row: Mapping[str, Any], index: int) -> Compress | None:
        where = f"compress[{index}]"
        if not isinstance(row, dict):
            self._problems.append(f"{where} is {row!r}, wanted a table")
            return None
        rest = dict(row)
        name, finetune = rest.pop("pass", None), rest.pop("finetune", None)
        if name not in passes():
            self._problems.append(f"{where}.pass is {name!r}; {nearest(str(name), passes())}")
            return None
        for key in passes()[name].references:
            if isinstance(rest.get(key), (str, list)):
                given = rest[key]
                rest[key] = self._near(given) if isinstance(given, str) else [self._near(str(each)) for each in given]
        config = self._section(passes()[name].config, rest, where)
        return Compress(name, config, self._section(Training, finetune, f"{where}.finetune") if finetune else None)

    def _metadata(self, raw: Mapping[str, Any], preprocessed: bool) -> Metadata | None:
        """`labels` is a file; the normalization is the app's, so there is none where the model preprocesses."""
        given = dict(raw)
        if preprocessed and ("mean" in raw or "std" in raw):
            self._problems.append("metadata: mean and std are for apps, but [preprocess] is inside the model already")
        if isinstance(raw.get("labels"), str):
            given["labels"] = self._try(lambda: list(read_labels(Path(self._near(raw["labels"])))), "metadata.labels")
            if given["labels"] is None:
                return None
        return self._section(Metadata, given, "metadata")

    def _shapes(self, raw: Mapping[str, Any]) -> dict[str, InputShape]:
        lists = {name: each for name, each in raw.items() if isinstance(each, list)}
        self._problems += [f"shapes.{name} is {raw[name]!r}, wanted a list" for name in raw if name not in lists]
        return self._try(lambda: input_shapes(lists), "shapes") or {}

    def _options(self, raw: Mapping[str, Any], qat: Mapping[str, Any] | None) -> dict[str, Any]:
        """Options by step; the table `[qat]` goes to every step that quantizes."""
        known = {step.name: step.options for step in steps()}
        self._unknown(raw, known, "options.")
        made = {name: self._section(known[name], row, f"options.{name}") for name, row in raw.items() if name in known}
        settings = None if qat is None else self._section(Qat, qat, "qat")
        if settings is not None:
            quantizing = [name for name, kind in known.items() if issubclass(kind, QuantizeOptions)]
            made |= {name: replace(made.get(name) or known[name](), qat=settings) for name in quantizing}
        return made

    def _section(self, kind: type[T], raw: Mapping[str, Any], where: str) -> T | None:
        """A dataclass from a table. Lists become tuples; unknown keys, missing keys and refused values are problems."""
        if not isinstance(raw, dict):
            self._problems.append(f"{where} is {raw!r}, wanted a table")
            return None
        known = {each.name: each for each in fields(kind)}  # type: ignore[arg-type]
        before = len(self._problems)
        self._unknown(raw, known, where + ".")
        required = {n for n, f in known.items() if f.default is MISSING and f.default_factory is MISSING}
        self._problems += [f"{where}.{name} is missing" for name in sorted(required - set(raw))]
        for name, value in raw.items():
            default = known[name].default if name in known else None
            if name in known and not _alike(default, value):
                self._problems.append(f"{where}.{name} is {value!r}, wanted {_wanted(default)}")
        if len(self._problems) > before:
            return None
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in raw.items()}
        made: T | None = self._try(lambda: kind(**values), where)
        return made

    def _unknown(self, raw: Mapping[str, Any], known: Sequence[str] | set[str] | Mapping[str, Any], where: str) -> None:
        self._problems += [f"unknown key {where}{name}; {nearest(name, known)}" for name in raw if name not in known]

    def _try(self, make: Any, where: str) -> Any:
        try:
            return make()
        except (Error, TypeError) as error:
            self._problems.append(f"{where}: {error}")
            return None

    def _near(self, text: str) -> str:
        """A path in the recipe is relative to the recipe's folder."""
        place, colon, name = text.rpartition(":")
        file = place if colon and place.endswith(".py") else text
        beside = self._path.parent / file
        return text if not beside.exists() else str(beside) + (f":{name}" if file == place else "")


def named_precision(text: str) -> Precision:
    """Raises BadInput naming the nearest precision that a step makes."""
    made = sorted({step.target.precision.value for step in steps()})
    if text not in made:
        raise BadInput(f"unknown precision {text!r}; {nearest(text, made)}")
    return Precision(text)


def _alike(default: object, value: object) -> bool:
    """Whether a value of a recipe can stand where `default` does; None stands for a number that is not set."""
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if default is None or isinstance(default, float):
        return isinstance(value, (int, float))
    if isinstance(default, tuple):
        return isinstance(value, list) and all(_alike(default[0], each) for each in value if default)
    return isinstance(value, type(default)) or default is MISSING


def _wanted(default: object) -> str:
    if isinstance(default, tuple):
        return f"a list of {_wanted(default[0])}s" if default else "a list"
    return "number" if default is None or isinstance(default, (int, float)) else type(default).__name__
