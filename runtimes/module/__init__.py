"""Torch modules: the user's factory, edits and weights on disk, preprocessing in front."""

from importlib.util import find_spec

from edgewright.errors import MissingExtra


def require_torch() -> None:
    """Raises MissingExtra unless torch modules can be opened here; asked before anything imports torch."""
    for package in ("torch", "safetensors"):
        if find_spec(package) is None:
            raise MissingExtra(package, "torch", "a PyTorch module as source")
