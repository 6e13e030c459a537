"""A `.pt2` file: a torch.export program. Loading one can run code, so it happens only when the user trusts it."""

from pathlib import Path

import torch
from torch import Tensor

from edgewright.errors import BadModel, NotTrusted
from edgewright.runtimes.contract import Contract
from edgewright.runtimes.module.folder import Loaded, describe


def load_program(path: Path, *, trusted: bool) -> Loaded:
    """Raises NotTrusted unless `trusted`, BadModel when the file is no program or has no example inputs."""
    if not trusted:
        raise NotTrusted(f"{path}: opening a .pt2 file can run code; say --trust if you vouch for it")
    try:
        program = torch.export.load(path)
    except Exception as error:
        raise BadModel(f"{path}: not a torch.export program ({type(error).__name__}: {error})") from error
    if program.example_inputs is None:
        raise BadModel(f"{path}: the program holds no example inputs: save it with torch.export.save of a fresh export")
    arguments, keywords = program.example_inputs
    names = [spec.arg.name for spec in program.graph_signature.input_specs if spec.kind.name == "USER_INPUT"]
    examples = dict(zip(names, [*arguments, *keywords.values()], strict=True))
    wrong = [name for name, example in examples.items() if not isinstance(example, Tensor)]
    if wrong:
        raise BadModel(f"{path}: input(s) {wrong} are no tensors")
    module = program.module()
    contract: Contract = describe(module, examples)
    return Loaded(module, contract, examples, (), None)
