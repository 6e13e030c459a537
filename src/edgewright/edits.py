"""Structural edits of a torch module as JSON that replays them, so that a compressed module needs no pickle.

A compression pass returns `(module, Edit)`. The edit names what changed in the structure; the weights live beside it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgewright.errors import BadModel

if TYPE_CHECKING:
    from torch import nn

SIZES = ("in_channels", "out_channels", "groups", "num_features", "in_features", "out_features")
"""The attributes of torch's layers that follow from the shapes of their weights."""


@dataclass(frozen=True)
class Resize:
    """One layer with fewer channels: its size attributes and the shapes of its parameters and buffers."""

    layer: str
    sizes: Mapping[str, int]
    shapes: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Edit:
    """What one compression pass did: its name, its settings, and the layers it resized."""

    name: str
    settings: Mapping[str, Any]
    resized: tuple[Resize, ...]

    def to_json(self) -> dict[str, Any]:
        rows = [{"layer": r.layer, "sizes": dict(r.sizes), "shapes": dict(r.shapes)} for r in self.resized]
        return {"name": self.name, "settings": dict(self.settings), "resized": rows}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "Edit":
        """Raises BadModel when the text is not an edit."""
        try:
            rows = tuple(
                Resize(row["layer"], dict(row["sizes"]), {k: tuple(v) for k, v in row["shapes"].items()})
                for row in raw["resized"]
            )
            return cls(raw["name"], raw["settings"], rows)
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
    """Give `module` the structure that the edits describe; values of resized tensors are undefined until loaded.

    Raises BadModel naming every layer or tensor that the module does not have.
    """
    layers = dict(module.named_modules())
    resizes = [resize for edit in edits for resize in edit.resized]
    unknown = [resize.layer for resize in resizes if resize.layer not in layers]
    if unknown:
        raise BadModel(f"the factory's module has no layer(s) {unknown}: it changed since the edits were made")
    for resize in resizes:
        _resize(layers[resize.layer], resize)


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
