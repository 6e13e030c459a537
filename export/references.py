"""The modules that a pass's config names, such as teachers: what the user's factories make, or torch artifacts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgewright.errors import BadModel

if TYPE_CHECKING:
    from torch import nn

    from edgewright.runtimes.module.folder import Loaded

ORIGINAL = "original"


@dataclass(frozen=True)
class Referred:
    """`loaded` is what `reference` names; `digest` covers its code, structure and weights."""

    reference: str
    loaded: "Loaded"
    digest: str

    def beside(self, other: "Loaded") -> "nn.Module":
        """The module that takes what the inner module of `other` takes. Raises BadModel where none does."""
        own = self.loaded.preprocess
        if own is not None and other.preprocess is not None and own != other.preprocess:
            raise BadModel(f"{self.reference}: its preprocessing ({own}) is not the model's ({other.preprocess})")
        return self.loaded.module if other.preprocess is None else self.loaded.inner


def referred(
    config: Any, keys: Sequence[str], *, seed: int, trusted: bool, original: Path
) -> Mapping[str, tuple[Referred, ...]]:
    """What each of the config's `keys` (a text or several) names; random weights are drawn from `seed`.

    ``original`` names the torch artifact at `original`: what the user brought, after training.
    Raises NotTrusted for an artifact unless `trusted`, BadModel for what cannot be loaded.
    """
    named = {key: getattr(config, key) for key in keys}
    texts = {key: (value,) if isinstance(value, str) else value for key, value in named.items()}
    return {key: tuple(_open(text, seed, trusted, original) for text in each if text) for key, each in texts.items()}


def _open(reference: str, seed: int, trusted: bool, original: Path) -> Referred:
    from edgewright.compress.checkpoint import module_digest
    from edgewright.compress.training import seeded
    from edgewright.runtimes.contract import Contract
    from edgewright.runtimes.module import factory as factories
    from edgewright.runtimes.module.folder import Loaded, load_module

    if reference == ORIGINAL:
        loaded = load_module(original, trusted=True)
    elif ":" not in reference or Path(reference).exists():
        loaded = load_module(Path(reference), trusted=trusted)
    else:
        factory = factories.find(reference)
        with seeded(seed):
            product = factories.make(factory)
        loaded = Loaded(product.module, Contract((), ()), product.example_inputs, (), factory)
    code = loaded.factory.digest if loaded.factory else ""
    return Referred(reference, loaded, f"{code} {module_digest(loaded.module)}")
