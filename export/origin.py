"""Where a build begins: the user's torch module (then trained and compressed), a `.pt2` program, or an ONNX file."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from edgewright.compress.passes import Given, passes
from edgewright.compress.training import Fit, Training, train_classifier
from edgewright.data import Samples
from edgewright.devices.spec import Format, Precision, Spec
from edgewright.errors import BadModel
from edgewright.export.fingerprint import source_digest
from edgewright.export.hop import Hop, Verdict, original_of
from edgewright.export.onnx.passes.batch import InputShape
from edgewright.export.pipeline import Pipeline
from edgewright.export.references import referred
from edgewright.runtimes.artifact import artifact_at
from edgewright.runtimes.module import require_torch
from edgewright.runtimes.module.preprocess import Preprocess

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgewright.runtimes.module.folder import Loaded

TORCH = Spec(Format.TORCH, Precision.FLOAT32)
ONNX = Spec(Format.ONNX, Precision.FLOAT32)


def start_module(
    pipeline: Pipeline,
    reference: str,
    samples: Samples | None,
    preprocess: Preprocess | None = None,
    *,
    seed: int = 0,
    name: str = "original",
) -> Hop:
    """The module that the user's factory gives, saved once. Without example inputs the first sample is one."""
    require_torch()
    import torch

    from edgewright.runtimes.module import factory as factories
    from edgewright.runtimes.module.folder import Loaded, describe, save_module
    from edgewright.runtimes.module.preprocessed import Preprocessed

    factory = factories.find(reference)

    def write(out: Path) -> Mapping[str, Any]:
        torch.manual_seed(seed)
        product = factories.make(factory)
        examples = _raw(product.example_inputs or _examples_from(samples, reference), preprocess)
        module = Preprocessed(product.module, preprocess).eval() if preprocess else product.module
        loaded = Loaded(module, describe(module, examples), examples, (), factory, preprocess)
        save_module(out, loaded)
        return {"parameters": _parameters(module), "seed": seed}

    return pipeline.add(
        name=name,
        spec=TORCH,
        parent=None,
        step="start",
        module=__name__,
        options={"seed": seed, "preprocess": preprocess.to_json() if preprocess else None},
        tools={"torch": version("torch")},
        depends={"factory": [factory.reference, factory.digest], "shapes": _shapes(samples)},
        write=write,
    )


def start_file(
    pipeline: Pipeline,
    path: Path,
    *,
    trusted: bool,
    precision: Precision = Precision.FLOAT32,
    preprocess: Preprocess | None = None,
    shapes: Mapping[str, InputShape] = MappingProxyType({}),
) -> Hop:
    """An ONNX file or a `.pt2` program as the user has it; with `preprocess`, the ONNX file behind it.

    `shapes` fix the lengths of an ONNX file's inputs. Raises BadModel where that, or `preprocess`, needs another file.
    """
    artifact = artifact_at(path, precision, trusted=trusted)
    if artifact.spec.format not in (Format.ONNX, Format.TORCH):
        raise BadModel(f"{path}: a build starts from a torch module, a .pt2 or an .onnx, not from {artifact.spec}")
    if preprocess is None and not shapes:
        return pipeline.append(Hop("original", artifact, None, "start", {}, {}, {}, False, 0.0, Verdict()), None)
    if artifact.spec.format is not Format.ONNX:
        raise BadModel(
            f"{path}: preprocess needs the module's factory or an .onnx, shapes an .onnx; a .pt2 has fixed ones"
        )

    def write(out: Path) -> Mapping[str, Any]:
        from edgewright.export.onnx.foreign import start_onnx

        return start_onnx(path, out, shapes, preprocess)

    return pipeline.add(
        name="original",
        spec=artifact.spec,
        parent=None,
        step="start",
        module="edgewright.export.onnx.foreign",
        options={"preprocess": preprocess.to_json() if preprocess else None, "shapes": _texts(shapes)},
        tools={package: version(package) for package in ("onnx", "onnx-ir")},
        depends={"file": artifact.digest},
        write=write,
    )


def import_file(pipeline: Pipeline, source: Hop, shapes: Mapping[str, InputShape] = MappingProxyType({})) -> Hop:
    """A foreign ONNX file → the clean form that the exporters expect, with the lengths that stay open in `shapes`."""

    def write(out: Path) -> Mapping[str, Any]:
        from edgewright.export.onnx.foreign import import_onnx

        return import_onnx(source.artifact.path, out, shapes)

    return pipeline.add(
        name=str(ONNX),
        spec=ONNX,
        parent=source,
        step="import",
        module="edgewright.export.onnx.foreign",
        options={"shapes": _texts(shapes)} if shapes else {},
        tools={package: version(package) for package in ("onnx", "onnx-ir", "onnxscript")},
        depends={},
        write=write,
    )


def _texts(shapes: Mapping[str, InputShape]) -> dict[str, str]:
    return {name: str(shape) for name, shape in sorted(shapes.items())}


def train(pipeline: Pipeline, source: Hop, samples: Samples, settings: Training, function: str | None) -> Hop:
    """The source trained on the train part, early-stopped on the validation part."""

    def change(loaded: "Loaded", scratch: Path | None) -> "tuple[Loaded, dict[str, Any]]":
        fit = _fit_function(function, scratch)
        accuracy = fit(loaded.module, samples.part("train"), samples.part("validation"), settings, pipeline.progress)
        return loaded, {"validation_accuracy": accuracy, "seed": settings.seed}

    depends = {"train": samples.digest(), "function": _digest(function)}
    return _derived(pipeline, source, "trained", "train", asdict(settings), depends, change)


def compress(
    pipeline: Pipeline,
    source: Hop,
    name: str,
    config: Any,
    *,
    samples: Samples | None = None,
    finetune: Training | None = None,
    function: str | None = None,
    trusted: bool = False,
) -> Hop:
    """The source behind one compression pass, then fine-tuned when `finetune` is given (which needs `samples`).

    Raises NotTrusted where the config names a torch artifact, unless `trusted`.
    """
    chosen = passes()[name]
    seed, brought = getattr(config, "seed", 0), original_of(pipeline.hops).artifact.path
    named = referred(config, chosen.references, seed=seed, trusted=trusted, original=brought)
    teachers, students = (named.get(key, ()) for key in ("teacher", "student"))

    def given(loaded: "Loaded", fit: Fit, scratch: Path | None) -> Given:
        return Given(
            _real_examples(loaded),
            _real(samples, "train", loaded.preprocess),
            _real(samples, "validation", loaded.preprocess),
            finetune,
            fit,
            progress=pipeline.progress,
            teachers=[teacher.beside(loaded) for teacher in teachers],
            student=next((student.beside(loaded) for student in students), None),
            scratch=scratch,
        )

    def change(loaded: "Loaded", scratch: Path | None) -> "tuple[Loaded, dict[str, Any]]":
        fit = _fit_function(function, scratch)
        smaller, edit = chosen.function(loaded.inner, config, given(loaded, fit, scratch))
        result = loaded.with_inner(smaller, edit, next((student.loaded for student in students), None))
        notes: dict[str, Any] = {"parameters_before": _parameters(loaded.inner), "parameters": _parameters(smaller)}
        if finetune is not None and samples is not None and not chosen.finetunes:
            train, validation = samples.part("train"), samples.part("validation")
            notes["validation_accuracy"] = fit(result.module, train, validation, finetune, pipeline.progress)
            notes["seed"] = finetune.seed
        return result, notes

    options = {"config": asdict(config), "finetune": asdict(finetune) if finetune else None}
    reads = samples is not None and (finetune is not None or chosen.uses_data)
    depends = {
        "train": samples.digest() if samples is not None and reads else None,
        "function": _digest(function),
        "pass": source_digest(chosen.function.__module__),
        "named": {key: [each.digest for each in found] for key, found in named.items()},
    }
    return _derived(pipeline, source, f"{source.name}+{name}", name, options, depends, change)


def _derived(
    pipeline: Pipeline,
    source: Hop,
    name: str,
    step: str,
    options: Mapping[str, Any],
    depends: Mapping[str, Any],
    change: "Callable[[Loaded, Path | None], tuple[Loaded, dict[str, Any]]]",
) -> Hop:
    """A torch hop made from a torch hop; `change` may keep what it has done so far in a folder."""
    from edgewright.runtimes.module.folder import load_module, save_module

    def write(out: Path) -> Mapping[str, Any]:
        key = {"step": step, "input": source.artifact.digest, **options, **depends}
        with pipeline.store.unfinished(key) as scratch:
            loaded, notes = change(load_module(source.artifact.path, trusted=True), scratch)
            save_module(out, loaded)
        return notes

    tools = {package: version(package) for package in ("torch", *(passes()[step].needs if step in passes() else ()))}
    return pipeline.add(
        name=name, spec=TORCH, parent=source, step=step, module=__name__,
        options=options, tools=tools, depends=depends, write=write,
    )  # fmt: skip


def _fit_function(reference: str | None, scratch: Path | None) -> Fit:
    if reference is None:
        return partial(train_classifier, checkpoints=scratch)
    from edgewright.runtimes.module.factory import find

    return find(reference).function


def _digest(reference: str | None) -> str | None:
    if reference is None:
        return None
    from edgewright.runtimes.module.factory import find

    return find(reference).digest


def _parameters(module: "nn.Module") -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _examples_from(samples: Samples | None, reference: str) -> "dict[str, Tensor]":
    import torch

    if samples is None:
        raise BadModel(
            f"{reference} gave no example inputs: return (module, example_inputs) from it, or give --data, whose first "
            "sample tells the shapes"
        )
    return {name: torch.from_numpy(array[:1].copy()) for name, array in samples.inputs.items()}


def _real(samples: Samples | None, part: str, preprocess: Preprocess | None) -> Samples | None:
    """A part of the data as the module behind the preprocessing takes it."""
    if samples is None:
        return None
    chosen = samples.part(part)
    if preprocess is None:
        return chosen
    return replace(chosen, inputs={name: preprocess.applied(array) for name, array in chosen.inputs.items()})


def _real_examples(loaded: "Loaded") -> "dict[str, Tensor]":
    import torch

    if loaded.preprocess is None:
        return {name: example.float() for name, example in loaded.example_inputs.items()}
    arrays = {name: loaded.preprocess.applied(example.numpy()) for name, example in loaded.example_inputs.items()}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _raw(examples: "dict[str, Tensor]", preprocess: Preprocess | None) -> "dict[str, Tensor]":
    """Examples as the app gives them, before preprocessing."""
    import torch

    if preprocess is None:
        return examples
    if len(examples) != 1:
        raise BadModel(f"preprocess is for models with one input; this one has {', '.join(examples)}")
    return {name: example.to(getattr(torch, preprocess.dtype)) for name, example in examples.items()}


def _shapes(samples: Samples | None) -> dict[str, list[Any]] | None:
    if samples is None:
        return None
    return {name: [str(array.dtype), *array.shape[1:]] for name, array in samples.inputs.items()}
