"""onnx's node cases, one operator each, and the models that it stores, with the inputs and outputs on record."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx

Arrays = dict[str, NDArray[Any]]

STORED = ("simple", "pytorch-converted", "pytorch-operator", "light")
"""Folders of `onnx/backend/test/data`."""


@dataclass(frozen=True)
class Case:
    """`op_type` is the operator of a node case, the folder of a stored model."""

    name: str
    op_type: str
    model: "onnx.ModelProto"
    inputs: Arrays
    outputs: Arrays

    def dtypes(self) -> frozenset[str]:
        """ONNX's names of the element types of its inputs and outputs; SEQUENCE and OPTIONAL for what is no tensor."""
        return frozenset(map(_kind, (*self.model.graph.input, *self.model.graph.output)))


@cache
def node_cases() -> tuple[Case, ...]:
    """Every node case but the `_expanded` ones, which repeat others in simpler operators; 6 CPU seconds."""
    import onnx.backend.test.case.node as package
    from onnx.backend.test.case.utils import import_recursive

    import_recursive(package)
    found = [raw for raw in package._NodeTestCases if "_expanded" not in raw.name and raw.data_sets]
    return tuple(_node_case(raw) for raw in found)


def _node_case(raw: Any) -> Case:
    [node] = raw.model.graph.node
    given, wanted = raw.data_sets[0]
    op_type = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}::{node.op_type}"
    inputs, outputs = _named(raw.model.graph.input, given), _named(raw.model.graph.output, wanted)
    return Case(raw.name, op_type, raw.model, inputs, outputs)


def stored_cases(folders: Sequence[str] = STORED) -> Iterator[Case]:
    """The stored models of these folders, one at a time: light ones make weights of up to 500 MB."""
    import onnx

    root = Path(onnx.__file__).parent / "backend" / "test" / "data"
    for folder in folders:
        for path in sorted((root / folder).glob("*.onnx" if folder == "light" else "*/model.onnx")):
            yield _light(path) if folder == "light" else _stored(path, folder)


def _stored(path: Path, folder: str) -> Case:
    import onnx

    model, recording = onnx.load(path), path.parent / "test_data_set_0"
    given, wanted = (
        [_read(recording / f"{kind}_{number}.pb", end) for number, end in enumerate(ends)]
        for kind, ends in (("input", _inputs(model)), ("output", model.graph.output))
    )
    return Case(
        path.parent.name, folder, model, _named(_inputs(model), given), _named(model.graph.output, wanted),
    )  # fmt: skip


def _light(path: Path) -> Case:
    """Inputs as onnx's own runner makes them: k, k + 1, … scaled to one image."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(path)
    [end] = _inputs(model)
    shape = [dim.dim_value for dim in end.type.tensor_type.shape.dim]
    size = int(np.prod(shape))
    image = (np.arange(size).reshape(shape) / np.float32(size)).astype(np.float32)
    answer = numpy_helper.to_array(onnx.load_tensor(path.with_name(f"{path.stem}_output_0.pb")))
    return Case(path.stem, "light", model, {end.name: image}, {model.graph.output[0].name: answer})


def _kind(end: "onnx.ValueInfoProto") -> str:
    import onnx

    kind = str(end.type.WhichOneof("value"))
    if kind != "tensor_type":
        return kind.partition("_")[0].upper()
    return str(onnx.TensorProto.DataType.Name(end.type.tensor_type.elem_type))


def _inputs(model: "onnx.ModelProto") -> "list[onnx.ValueInfoProto]":
    constants = {tensor.name for tensor in model.graph.initializer}
    return [end for end in model.graph.input if end.name not in constants]


def _read(path: Path, end: "onnx.ValueInfoProto") -> Any:
    import onnx
    from onnx import numpy_helper

    if end.type.WhichOneof("value") != "tensor_type":
        return None
    return numpy_helper.to_array(onnx.load_tensor(path))


def _named(ends: "Sequence[onnx.ValueInfoProto]", values: Sequence[Any]) -> Arrays:
    """What is a tensor of them, by name."""
    pairs = zip(ends, values, strict=True)
    return {end.name: np.asarray(value) for end, value in pairs if isinstance(value, (np.ndarray, np.generic))}
