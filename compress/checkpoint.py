"""What a killed training needs to go on: tensors and plain numbers in one file, written whole or not at all."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgewright.errors import BadInput
from edgewright.staging import replacing

if TYPE_CHECKING:
    from torch import Tensor, nn


def write_checkpoint(file: Path, tensors: "Mapping[str, Tensor]", facts: Mapping[str, Any]) -> None:
    """`facts` are what JSON holds. Raises WriteFailed when the disk refuses; the file before stays as it was."""
    from safetensors.torch import save_file

    owned = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
    with replacing(file) as made:
        save_file(owned, made, metadata={"facts": json.dumps(facts)})


def read_checkpoint(file: Path) -> "tuple[dict[str, Tensor], dict[str, Any]] | None":
    """What was written, or None where nothing was. Raises BadInput for a file that is no checkpoint."""
    from safetensors import SafetensorError, safe_open

    if not file.exists():
        return None
    try:
        with safe_open(file, "pt") as opened:
            facts = json.loads(opened.metadata()["facts"])
            return {name: opened.get_tensor(name) for name in opened.keys()}, facts  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{file}: no readable checkpoint ({error}); remove it to start anew") from None


def module_digest(module: "nn.Module") -> str:
    """sha256 over the structure as torch prints it and the values of all parameters and buffers."""
    import torch

    total = hashlib.sha256(f"{type(module).__qualname__}\n{module!r}".encode())
    for name, tensor in module.state_dict().items():
        total.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
        total.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def below(prefix: str, tensors: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
    """The tensors whose names start with `prefix`, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
