"""How long work reports that it goes on. The command line draws it; libraries stay silent."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[int], None]


class Progress(Protocol):
    def task(self, label: str, total: int | None = None) -> AbstractContextManager[Advance]:
        """Open a task of `total` units (None: unknown); call the returned function with the units just done."""
        ...

    def say(self, message: str) -> None:
        """One line that stays."""
        ...


class Silent:
    """Reports nothing."""

    @contextmanager
    def task(self, label: str, total: int | None = None) -> Iterator[Advance]:  # noqa: ARG002
        yield lambda _done: None

    def say(self, message: str) -> None:
        pass
