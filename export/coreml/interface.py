"""What an app sees of a Core ML file: types and lengths of inputs and outputs, images, classes, and what it says of
itself."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any

from edgewright.errors import BadInput, nearest
from edgewright.export.coreml.options import CoremlOptions
from edgewright.export.metadata import Metadata
from edgewright.runtimes.contract import CONTRACT_KEY, NAMES_KEY, Contract, TensorInfo
from edgewright.runtimes.read.mil_proto import dtype_of

LABEL, PROBABILITIES = "classLabel", "classLabel_probs"
CHANNELS = {"RGB": 3, "BGR": 3, "GRAYSCALE": 1}
UNBOUNDED_FACTOR = 64
"""An open length without an upper bound may grow to so many times the one to begin with: Core ML wants a bound."""


@dataclass(frozen=True)
class Interface:
    """The contract of a file and what its description adds. `source` is the sha256 of the ONNX file that it is from."""

    contract: Contract
    options: CoremlOptions
    source: str = ""
    metadata: Metadata = field(default_factory=Metadata)

    @property
    def scores(self) -> str | None:
        """The output that is read as one score for each label; None without labels, or where they name no such."""
        labels = self.metadata.labels
        fitting = (info.name for info in self.contract.outputs if labels and _is_row(info, len(labels)))
        return next(fitting, None)

    def declare(self, spec: Any, renamed: Mapping[str, str]) -> None:
        """Write it into a specification, whose names for tensors are `renamed` where they differ from the graph's."""
        in_file = {graph: file for file, graph in renamed.items()}
        inputs = {feature.name: feature for feature in spec.description.input}
        for info in self.contract.inputs:
            _declare_input(inputs[in_file.get(info.name, info.name)], info)
        if self.scores is not None:
            _keep_scores(spec, in_file.get(self.scores, self.scores))
        outputs = {feature.name: feature for feature in spec.description.output}
        for info in self.contract.outputs:
            feature = outputs[in_file.get(info.name, info.name)]
            _declare_output(feature, info)
        for name, text in self.metadata.tensors.items():
            (inputs | outputs)[in_file.get(name, name)].shortDescription = text
        self._describe_itself(spec.description.metadata, renamed)

    def _describe_itself(self, about: Any, renamed: Mapping[str, str]) -> None:
        given, options = self.metadata, self.options
        about.author = options.author or given.author
        about.license = options.licence or given.license
        about.versionString = options.version or given.version
        about.shortDescription = ": ".join(filter(None, (given.name, given.description)))
        about.userDefined.clear()  # coremltools' date and versions
        about.userDefined.update(given.user)
        about.userDefined["edgewright.version"] = version("edgewright")
        about.userDefined[CONTRACT_KEY] = self.contract.to_json()
        if self.source:
            about.userDefined["edgewright.source_sha256"] = self.source
        if given.labels and self.scores is None:
            about.userDefined["labels"] = json.dumps(given.labels, ensure_ascii=False)
        if given.mean:
            about.userDefined["normalization"] = json.dumps({"mean": given.mean, "std": given.std})
        if renamed:
            about.userDefined[NAMES_KEY] = json.dumps(dict(renamed), sort_keys=True)


def interface(contract: Contract, options: CoremlOptions, source: str = "") -> Interface:
    """The contract with images, float16 ends and open lengths as the options ask. Raises one BadInput for all that
    does not fit the model."""
    metadata = options.metadata or Metadata()
    images = options.images([info.name for info in contract.inputs])
    half = options.io == "float16"
    inputs = tuple(
        replace(info, image=images[info.name], file_dtype="float32")
        if info.name in images
        else _with_ends(info, half=half)
        for info in contract.inputs
    )
    made = Contract(tuple(map(_bounded, inputs)), tuple(_with_ends(info, half=half) for info in contract.outputs))
    problems = [problem for info in made.inputs if info.image and (problem := _no_image(info))]
    problems += _misfits(metadata, made)
    if problems:
        raise BadInput("; ".join(problems))
    about = Interface(made, options, source, metadata)
    return about if about.scores is None else replace(about, contract=replace(made, added=(LABEL, PROBABILITIES)))


def _with_ends(info: TensorInfo, *, half: bool) -> TensorInfo:
    return replace(info, file_dtype="float16") if half and info.dtype == "float32" else info


def _bounded(info: TensorInfo) -> TensorInfo:
    """With an upper bound for each open length."""
    if info.choices or not info.open_axes:
        return info
    ranges = info.ranges or ((1, None),) * len(info.open_axes)
    begins = [info.shape[axis] or 1 for axis in info.open_axes]
    bounded = [(low, high or n * UNBOUNDED_FACTOR) for (low, high), n in zip(ranges, begins, strict=True)]
    return replace(info, ranges=tuple(bounded))


def _no_image(info: TensorInfo) -> str | None:
    """Why an input cannot be an image; None when it can."""
    channels = CHANNELS[str(info.image)]
    if len(info.shape) != 4 or info.shape[:2] != (1, channels) or {0, 1} & set(info.open_axes):
        return f"input {info.name!r} has shape {list(info.shape)}; {info.image} images are 1×{channels}×height×width"
    if info.dtype != "uint8":
        return (
            f"input {info.name!r} is {info.dtype}, images hold uint8 pixels: put what turns pixels into its values "
            'inside the model, as in [preprocess] dtype = "uint8", or --preprocess dtype=uint8'
        )
    return None


def _misfits(metadata: Metadata, contract: Contract) -> list[str]:
    """What the metadata says and this model does not have."""
    problems = []
    ends = {info.name for info in (*contract.inputs, *contract.outputs)}
    problems += [
        f"metadata: no input or output {name!r}; {nearest(name, ends)}" for name in metadata.tensors.keys() - ends
    ]
    problems += [
        f"metadata: the key {name!r} is edgewright's own" for name in metadata.user if name.startswith("edgewright.")
    ]
    if (count := len(metadata.labels)) and not any(count in info.shape for info in contract.outputs):
        shapes = ", ".join(f"{info.name} {list(info.shape)}".replace("None", "?") for info in contract.outputs)
        problems.append(f"metadata: {count} labels fit no output: {shapes}")
    if twice := sorted({label for label in metadata.labels if metadata.labels.count(label) > 1}):
        problems.append(f"metadata: Core ML finds scores by label, so each must differ; twice: {', '.join(twice)}")
    return problems


def _is_row(info: TensorInfo, count: int) -> bool:
    return info.dtype == "float32" and not info.open_axes and info.shape in ((count,), (1, count))


def _declare_input(feature: Any, info: TensorInfo) -> None:
    if info.image is not None:
        return _declare_image(feature, info)
    if not info.open_axes:
        return None
    array = feature.type.multiArrayType
    array.shape[:] = info.shape
    for shape in info.choices:
        array.enumeratedShapes.shapes.add().shape[:] = shape
    if not info.choices:
        bounds = dict(zip(info.open_axes, info.ranges, strict=True))
        for axis, n in enumerate(info.shape):
            low, high = bounds.get(axis, (n, n))
            array.shapeRange.sizeRanges.add(lowerBound=low, upperBound=high)
    return None


def _declare_image(feature: Any, info: TensorInfo) -> None:
    """In its program an image is a float tensor 1×channels×height×width of values from 0 to 255."""
    image = feature.type.imageType
    image.colorSpace = type(image).ColorSpace.Value(str(info.image))
    image.height, image.width = (int(n or 0) for n in info.shape[2:])
    for shape in info.choices:
        image.enumeratedSizes.sizes.add(height=shape[2], width=shape[3])
    if info.open_axes and not info.choices:
        bounds = dict(zip(info.open_axes, info.ranges, strict=True))
        for axis, side in ((2, image.imageSizeRange.heightRange), (3, image.imageSizeRange.widthRange)):
            low, high = bounds.get(axis, (info.shape[axis], info.shape[axis]))
            side.lowerBound, side.upperBound = int(low or 1), int(high or 1)


def _keep_scores(spec: Any, name: str) -> None:
    """coremltools puts label and dictionary in the place of the scores; the scores stay an output behind them."""
    function = spec.mlProgram.functions["main"]
    block = function.block_specializations[function.opset]
    kind = next(value.type for op in block.operations for value in op.outputs if value.name == name).tensorType
    block.outputs.append(name)
    array = spec.description.output.add(name=name).type.multiArrayType
    array.shape[:] = [dimension.constant.size for dimension in kind.dimensions]
    array.dataType = type(array).ArrayDataType.Value(dtype_of(kind.dataType).upper())


def _declare_output(feature: Any, info: TensorInfo) -> None:
    if info.open_axes:
        del feature.type.multiArrayType.shape[:]  # as coremltools does: the inputs tell
