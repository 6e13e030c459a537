"""Structural edits of a torch module as JSON that replays them, so that a compressed module needs no pickle.

A compression pass returns `(module, Edit)`. The edit names what changed in the structure; the weights live beside it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgewright.errors import BadModel

if TYPE_CHECKING:
    from torch import nn

SIZES = (
    "in_channels", "out_channels", "groups", "num_features", "in_features", "out_features",
    "input_size", "hidden_size", "num_parameters", "embedding_dim",
)  # fmt: skip
"""The attributes of torch's layers that follow from the shapes of their weights."""
PARTS = ("Linear", "Conv1d", "Conv2d", "Conv3d", "BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "ReLU", "ReLU6")
"""The layers that others are replaced by."""


@dataclass(frozen=True)
class Resize:
    """One layer with fewer channels: its size attributes and the shapes of its parameters and buffers."""

    layer: str
    sizes: Mapping[str, int]
    shapes: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Part:
    """A layer of torch.nn by the name of its class, and what it is made with."""

    kind: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Replace:
    """One layer that became a Sequential of others."""

    layer: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Edit:
    """What one compression pass did: its name, its settings, the layers it replaced, then those it resized.

    `left` tells of layers that the pass could have changed why it did not.
    """

    name: str
    settings: Mapping[str, Any]
    resized: tuple[Resize, ...] = ()
    replaced: tuple[Replace, ...] = ()
    left: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        resized = [{"layer": r.layer, "sizes": dict(r.sizes), "shapes": dict(r.shapes)} for r in self.resized]
        replaced = [
            {"layer": r.layer, "parts": [{"kind": p.kind, "arguments": dict(p.arguments)} for p in r.parts]}
            for r in self.replaced
        ]
        row = {"name": self.name, "settings": dict(self.settings), "resized": resized}
        return row | ({"replaced": replaced} if replaced else {}) | ({"left": dict(self.left)} if self.left else {})

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "Edit":
        """Raises BadModel when the text is not an edit."""
        try:
            rows = tuple(
                Resize(row["layer"], dict(row["sizes"]), {k: tuple(v) for k, v in row["shapes"].items()})
                for row in raw["resized"]
            )
            replaced = tuple(
                Replace(row["layer"], tuple(Part(part["kind"], dict(part["arguments"])) for part in row["parts"]))
                for row in raw.get("replaced", ())
            )
            return cls(raw["name"], raw["settings"], rows, replaced, dict(raw.get("left", {})))
        except (KeyError, TypeError, AttributeError) as error:
            raise BadModel(f"unreadable structural edit in artifact.json: {error!r}") from None


def difference(before: "nn.Module", after: "nn.Module") -> tuple[Resize, ...]:
    """The layers of `after` whose sizes differ from those of the same name in `before`."""
    layers = dict(before.named_modules())
    resized = []
    for name, layer in after.named_modules():
        shapes = _shapes(layer)
        if shapes != _shapes(layers[name]) or _sizes(layer) != _sizes(layers[name]):
            resized.append(Resize(name, _sizes(layer), shapes))
    return tuple(resized)


def replay(module: "nn.Module", edits: Sequence[Edit]) -> None:
    """Give `module` the structure that the edits describe; values of new or resized tensors are undefined until loaded.

    Raises BadModel naming every layer or tensor that the module does not have.
    """
    for edit in edits:
        for replacement in edit.replaced:
            replace_layer(module, replacement)
        layers = dict(module.named_modules())
        unknown = [resize.layer for resize in edit.resized if resize.layer not in layers]
        if unknown:
            raise BadModel(f"the factory's module has no layer(s) {unknown}: it changed since the edits were made")
        for resize in edit.resized:
            _resize(layers[resize.layer], resize)


def replace_layer(module: "nn.Module", replacement: Replace) -> "nn.Sequential":
    """Put a Sequential of fresh layers in the place of one, and give it. Raises BadModel where there is none."""
    from torch import nn

    parent, _, name = replacement.layer.rpartition(".")
    owner = dict(module.named_modules()).get(parent)
    if owner is None or name not in dict(owner.named_children()):
        raise BadModel(f"the factory's module has no layer {replacement.layer!r}: it changed since the edits were made")
    unknown = [part.kind for part in replacement.parts if part.kind not in PARTS]
    if unknown:
        raise BadModel(f"layer {replacement.layer!r} would become {unknown}; only {', '.join(PARTS)} are known")
    made = nn.Sequential(*(getattr(nn, part.kind)(**part.arguments) for part in replacement.parts))
    setattr(owner, name, made.train(module.training))
    return made


def _resize(layer: "nn.Module", resize: Resize) -> None:
    import torch

    tensors: dict[str, torch.Tensor] = dict(layer.named_parameters(recurse=False)) | dict(
        layer.named_buffers(recurse=False)
    )
    unknown = [name for name in (*resize.shapes,) if name not in tensors]
    unknown += [name for name in resize.sizes if name not in SIZES or not hasattr(layer, name)]
    if unknown:
        raise BadModel(f"layer {resize.layer!r} has no {unknown}: the factory changed since the edits were made")
    for name, size in resize.sizes.items():
        setattr(layer, name, int(size))
    for name, shape in resize.shapes.items():
        tensors[name].data = torch.zeros(shape, dtype=tensors[name].dtype)


def _sizes(layer: "nn.Module") -> dict[str, int]:
    return {name: int(getattr(layer, name)) for name in SIZES if isinstance(getattr(layer, name, None), int)}


def _shapes(layer: "nn.Module") -> dict[str, tuple[int, ...]]:
    return _named_shapes(layer.named_parameters(recurse=False)) | _named_shapes(layer.named_buffers(recurse=False))


def _named_shapes(tensors: Iterable[tuple[str, Any]]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors}
