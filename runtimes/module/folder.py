"""A torch module on disk without pickle: `X.torch/` holds ``artifact.json`` and ``weights.safetensors``.

Loading imports the user's factory, replays the structural edits and loads the weights. That runs the factory's code, so
it happens only when the file is trusted: the user named the factory in this very command, or said ``--trust``.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from edgewright.edits import Edit, replay
from edgewright.errors import BadModel, NotTrusted
from edgewright.runtimes.contract import Contract, TensorInfo
from edgewright.runtimes.module import factory as factories
from edgewright.runtimes.module.preprocess import Preprocess
from edgewright.runtimes.module.preprocessed import Preprocessed

VERSION = 1


@dataclass(frozen=True)
class Loaded:
    """A module in eval mode, what it takes and gives, and how it came to be (no factory: from a `.pt2` program)."""

    module: nn.Module
    contract: Contract
    example_inputs: dict[str, Tensor]
    edits: tuple[Edit, ...]
    factory: factories.Factory | None
    preprocess: Preprocess | None = None

    @property
    def inner(self) -> nn.Module:
        """The module behind its preprocessing: what compression changes."""
        return self.module.module if isinstance(self.module, Preprocessed) else self.module

    def with_inner(self, inner: nn.Module, edit: Edit, origin: "Loaded | None" = None) -> "Loaded":
        """The same with another module inside, made by `edit`, from `origin` where it has another factory."""
        module = Preprocessed(inner, self.preprocess).eval() if self.preprocess else inner
        before = origin or self
        return replace(self, module=module, edits=(*before.edits, edit), factory=before.factory)


def describe(module: nn.Module, example_inputs: Mapping[str, Tensor]) -> Contract:
    """Run the module once on the examples and write down its I/O. Raises BadModel when it fails on them."""
    try:
        with torch.no_grad():
            outputs = named_outputs(module(*example_inputs.values()))
    except Exception as error:
        shapes = {name: tuple(example.shape) for name, example in example_inputs.items()}
        raise BadModel(f"the module failed on inputs of shape {shapes}: {type(error).__name__}: {error}") from error
    return Contract(_infos(example_inputs), _infos(outputs))


def named_outputs(outputs: Any) -> dict[str, Tensor]:
    """A module's result by name: a dict's keys, ``output``, or ``output_0``, ``output_1``, … for a tuple."""
    if isinstance(outputs, Tensor):
        return {"output": outputs}
    if isinstance(outputs, Mapping):
        named = dict(outputs)
    elif isinstance(outputs, (tuple, list)):
        named = {f"output_{index}": value for index, value in enumerate(outputs)}
    else:
        raise BadModel(f"the module gives {type(outputs).__name__}, wanted a tensor, a tuple or a dict of tensors")
    wrong = [name for name, value in named.items() if not isinstance(value, Tensor)]
    if wrong:
        raise BadModel(f"output(s) {wrong} of the module are no tensors")
    return named


def save_module(folder: Path, loaded: Loaded) -> None:
    """Write a module. Raises BadModel naming every tensor that holds NaN or infinity."""
    state = {name: tensor.detach().contiguous().clone() for name, tensor in loaded.inner.state_dict().items()}
    broken = [name for name, tensor in state.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if broken:
        raise BadModel(f"weights hold NaN or infinity in {', '.join(broken)}: train again, or load another checkpoint")
    if loaded.factory is None:
        raise BadModel("a .pt2 program has no factory to replay edits on: give the module's factory instead")
    folder.mkdir(parents=True)
    save_file(state, folder / "weights.safetensors")
    text = {
        "version": VERSION,
        "factory": loaded.factory.reference,
        "factory_digest": loaded.factory.digest,
        "edits": [edit.to_json() for edit in loaded.edits],
        "preprocess": loaded.preprocess.to_json() if loaded.preprocess else None,
        "contract": json.loads(loaded.contract.to_json()),
    }
    (folder / "artifact.json").write_text(json.dumps(text, indent=1, sort_keys=True) + "\n")


def load_module(folder: Path, *, trusted: bool) -> Loaded:
    """Read a module back. Raises NotTrusted unless `trusted`, BadModel when a part is missing or does not fit."""
    if folder.suffix == ".pt2":
        from edgewright.runtimes.module.program import load_program

        return load_program(folder, trusted=trusted)
    raw = _read_json(folder)
    if not trusted:
        raise NotTrusted(f"{folder}: opening it runs the code of {raw['factory']}; say --trust if you vouch for it")
    factory = factories.find(raw["factory"])
    if factory.digest != raw["factory_digest"]:
        raise BadModel(f"{folder}: {raw['factory']} changed since this artifact was made: build it again")
    module = factories.make(factory).module
    edits = tuple(Edit.from_json(edit) for edit in raw["edits"])
    replay(module, edits)
    _load_weights(module, folder / "weights.safetensors")
    contract = Contract.from_json(json.dumps(raw["contract"]))
    preprocess = Preprocess.from_json(raw["preprocess"]) if raw["preprocess"] else None
    whole = Preprocessed(module, preprocess).eval() if preprocess else module
    return Loaded(whole, contract, _examples(contract), edits, factory, preprocess)


def _read_json(folder: Path) -> dict[str, Any]:
    try:
        raw: dict[str, Any] = json.loads((folder / "artifact.json").read_text())
    except (OSError, ValueError) as error:
        raise BadModel(f"{folder}: no readable artifact.json ({error})") from None
    missing = {"factory", "factory_digest", "edits", "preprocess", "contract"} - set(raw)
    if raw.get("version") != VERSION or missing:
        raise BadModel(f"{folder}: artifact.json is not of version {VERSION}, or lacks {sorted(missing)}")
    return raw


def _load_weights(module: nn.Module, file: Path) -> None:
    try:
        module.load_state_dict(load_file(file), strict=True)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise BadModel(f"{file}: the weights do not fit the module ({error})") from None


def _infos(tensors: Mapping[str, Tensor]) -> tuple[TensorInfo, ...]:
    return tuple(
        TensorInfo(name, tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
        for name, tensor in tensors.items()
    )


def _examples(contract: Contract) -> dict[str, Tensor]:
    """Seeded inputs of the right shapes, for tracing."""
    generator = torch.Generator().manual_seed(0)
    examples = {}
    for info in contract.inputs:
        shape = [n or 1 for n in info.shape]
        dtype = getattr(torch, info.dtype)
        if dtype.is_floating_point:
            examples[info.name] = torch.randn(shape, generator=generator).to(dtype)
        else:
            examples[info.name] = torch.randint(0, 2, shape, generator=generator).to(dtype)
    return examples
