"""What a build is asked for: a recipe from a file, overlaid with what the caller said."""

import inspect
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgewright.data import Samples, load_samples
from edgewright.devices.device import Device, device, devices
from edgewright.devices.spec import Format, Precision, Spec
from edgewright.errors import BadData, BadInput
from edgewright.export.coreml.options import CoremlOptions
from edgewright.export.onnx.quantize.mixed import MixedOptions
from edgewright.export.steps import steps
from edgewright.export.tflite.convert import TfliteOptions
from edgewright.recipe import Recipe, named_precision, read_recipe
from edgewright.runtimes.module import require_torch
from edgewright.runtimes.read import read

WITHOUT_DATA = (
    *(Precision.FLOAT32, Precision.FLOAT16),
    *(Precision.INT8_WEIGHTS, Precision.INT8_DYNAMIC, Precision.INT4_WEIGHTS),
)


def overlay(
    model: str | None, recipe: Path | str | None, for_devices: Sequence[str], data: str | None, precision: str
) -> Recipe:
    """The recipe of a build. Raises BadInput when nothing says what to build, or for what."""
    base = read_recipe(Path(recipe)) if recipe else Recipe(model or "")
    if model:
        base = replace(base, model=model)
    if for_devices:
        base = replace(base, devices=tuple(device(name).name for name in for_devices))
    if data:
        base = replace(base, data=data)
    if precision != "auto":
        base = replace(base, precisions=(named_precision(precision),))
    elif base.data is None:
        base = replace(base, precisions=tuple(p for p in base.precisions if p in WITHOUT_DATA))
    problems = [] if base.model else ["no model: give one, or a recipe that names one"]
    if not base.devices:
        problems.append(f"no device: give --for; known: {', '.join(devices())}")
    problems += impossible(base)
    if problems:
        raise BadInput("; ".join(problems))
    return base


def impossible(recipe: Recipe) -> list[str]:
    """What the recipe asks for and its model or data do not allow."""
    problems = []
    if Path(recipe.model).suffix in (".onnx", ".pt2") and (recipe.train or recipe.compress):
        problems.append(f"train and compress change a torch module: name its factory instead of {recipe.model}")
    if recipe.shapes and Path(recipe.model).suffix != ".onnx":
        problems.append(f"shapes are for .onnx files; {recipe.model} has those of its example inputs")
    learns = recipe.train is not None or any(each.finetune for each in recipe.compress)
    if learns and recipe.data is None:
        problems.append("training and fine-tuning need data: name it in the recipe, or give --data")
    return problems


def wanted(recipe: Recipe) -> tuple[Spec, ...]:
    """Every Spec that a device of the recipe accepts, at the recipe's precisions, in a fixed order."""
    accepted = {spec for name in recipe.devices for spec in device(name).accepts if made_for(spec, device(name))}
    specs = tuple(spec for spec in sorted(accepted) if spec.precision in recipe.precisions and spec.format in EXPORTED)
    if not specs:
        precisions = ", ".join(recipe.precisions)
        raise BadInput(f"{', '.join(recipe.devices)} accept nothing at {precisions}; see `edgewright devices NAME`")
    return specs


def made_for(spec: Spec, target: Device) -> bool:
    """Others load a microcontroller's files too, but have better ones."""
    return spec.format is not Format.TFLM or target.runtime == "tflite-micro"


def step_options(recipe: Recipe) -> dict[str, object]:
    """The options of each step by its name: what the recipe says, and its budget where that decides."""
    options = dict(recipe.options)
    mixed = options.get("quantize-mixed", MixedOptions())
    if isinstance(mixed, MixedOptions) and mixed.accuracy_drop is None:
        options["quantize-mixed"] = replace(mixed, accuracy_drop=recipe.budget.accuracy_drop)
    return options | _with_metadata(recipe)


def _with_metadata(recipe: Recipe) -> dict[str, object]:
    """The steps that write for apps, with the recipe's metadata; of a model that preprocesses, apps need not."""
    metadata = recipe.metadata
    if metadata is None:
        return {}
    identity = replace(metadata, mean=(0.0,), std=(1.0,)) if recipe.preprocess is not None else metadata
    writers: dict[str, object] = {}
    for step in steps():
        options = recipe.options.get(step.name) or step.options()
        if isinstance(options, TfliteOptions):
            writers[step.name] = replace(options, metadata=identity)
        elif isinstance(options, CoremlOptions):
            writers[step.name] = replace(options, metadata=metadata)
    return writers


EXPORTED = (Format.ONNX, Format.TFLITE, Format.TFLM, Format.COREML)


def samples_of(model: str, data: str | None, *, trust: bool = False) -> Samples | None:
    """The data for a model. Raises BadData when there is nothing to verify on."""
    if data is None:
        return None
    shape, name = _first_input(model, trust) if Path(data).suffix == ".npy" or Path(data).is_dir() else (None, "input")
    samples = load_samples(data, shape=shape, input_name=name)
    if len(samples.part("test")) == 0:
        raise BadData(f"{data}: no sample is in the test part, so nothing can be verified; add some to `split`")
    return samples


def _first_input(model: str, trust: bool) -> tuple[tuple[int | None, ...] | None, str]:
    """Shape and name of a model's first input: what data without names are for, and what images are resized to."""
    path = Path(model)
    if path.suffix == ".onnx":
        info = read(path).contract.inputs[0]
        return info.shape, info.name
    require_torch()
    from edgewright.runtimes.module import factory
    from edgewright.runtimes.module.folder import load_module

    if path.suffix == ".pt2":
        info = load_module(path, trusted=trust).contract.inputs[0]
        return info.shape, info.name
    product = factory.make(factory.find(model))
    for name, example in product.example_inputs.items():
        return tuple(example.shape), name
    return None, next(iter(inspect.signature(product.module.forward).parameters), "input")
