"""PyTorch itself: runs a torch artifact, the reference for all that is made from it."""

from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgewright.devices.spec import Format
from edgewright.errors import BadInput
from edgewright.runtimes.artifact import Artifact
from edgewright.runtimes.runtime import Arrays

if TYPE_CHECKING:
    import torch


class EagerSession:
    def __init__(self, path: Path, threads: int, *, trusted: bool) -> None:
        import torch

        from edgewright.runtimes.module.folder import load_module

        torch.set_num_threads(threads)  # torch knows no other scope than the process
        loaded = load_module(path, trusted=trusted)
        self._module = loaded.module
        self.contract = loaded.contract

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        from edgewright.runtimes.module.folder import named_outputs

        answers = named_outputs(self._call(self._feed(inputs))).values()
        return self.contract.from_file(answer.numpy() for answer in answers)

    def prepared(self, inputs: Arrays) -> Callable[[], None]:
        import torch

        feed = self._feed(inputs)

        def once() -> None:
            with torch.inference_mode():
                self._module(*feed)

        return once

    def intermediates(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """What each leaf module gave (its last call), by module name."""
        import torch

        seen: dict[str, NDArray[Any]] = {}

        def keep(name: str) -> Callable[[Any, Any, Any], None]:
            def hook(_module: Any, _inputs: Any, output: Any) -> None:
                if isinstance(output, torch.Tensor):
                    seen[name] = output.numpy().copy()

            return hook

        leaves = [(name, module) for name, module in self._module.named_modules() if not list(module.children())]
        hooks = [module.register_forward_hook(keep(name)) for name, module in leaves]
        try:
            self._call(self._feed(inputs))
        finally:
            for hook in hooks:
                hook.remove()
        return seen

    def _feed(self, inputs: Arrays) -> "list[torch.Tensor]":
        import torch

        return [torch.from_numpy(np.array(array)) for array in self.contract.to_file(inputs)]

    def _call(self, feed: "list[torch.Tensor]") -> Any:
        import torch

        try:
            with torch.inference_mode():
                return self._module(*feed)
        except Exception as error:  # the user's own code may raise anything
            raise BadInput(f"the module failed on these inputs: {type(error).__name__}: {error}") from error


class Eager:
    name = "torch"
    formats = (Format.TORCH,)
    preference = 10
    caution = ""

    def missing(self) -> str | None:
        absent = [name for name in ("torch", "safetensors") if not find_spec(name)]
        return f"needs {', '.join(absent)}: pip install 'edgewright[torch]'" if absent else None

    def version(self) -> str:
        return version("torch")

    def load(self, artifact: Artifact, threads: int = 1) -> EagerSession:
        return EagerSession(artifact.path, threads, trusted=artifact.trusted)


RUNTIME = Eager()
