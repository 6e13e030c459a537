"""How commands print: tables and JSON on stdout, progress and messages on stderr, plain text when not a terminal."""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from edgewright.progress import Advance, Progress

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout; messages go to stderr.")]
Trust = Annotated[bool, typer.Option("--trust", help="Open files whose loading runs code: .pt2 and .torch.")]
Data = Annotated[
    str | None,
    typer.Option("--data", metavar="DATA", help="Samples: .npz, .npy, a folder of images, or package.module:function."),
]
StorePath = Annotated[
    str | None,
    typer.Option("--store", metavar="DIR", help="Where results are kept (default: the user's cache folder)."),
]
Threads = Annotated[int, typer.Option("--threads", min=1, help="Threads of the runtime.")]
RuntimeName = Annotated[str | None, typer.Option("--runtime", help="A runtime by name, see `edgewright doctor`.")]


class Plain:
    """Lines on stderr: one when a task ends, for logs and pipes."""

    @contextmanager
    def task(self, label: str, total: int | None = None) -> Iterator[Advance]:  # noqa: ARG002
        started = time.perf_counter()
        yield lambda _done: None
        seconds = time.perf_counter() - started
        if seconds > 1:
            self.say(f"{label}: {seconds:.1f} s")

    def say(self, message: str) -> None:
        print(message, file=sys.stderr, flush=True)


class Bars:
    """A bar a task on the terminal."""

    @contextmanager
    def task(self, label: str, total: int | None = None) -> Iterator[Advance]:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
            task = bars.add_task(label, total=total)
            yield lambda done: bars.update(task, advance=done)

    def say(self, message: str) -> None:
        print(message, file=sys.stderr, flush=True)


def progress() -> Progress:
    return Bars() if sys.stderr.isatty() else Plain()


def emit(document: Any) -> None:
    """The one JSON document of a command."""
    print(json.dumps(document, indent=1, default=str))


def lengths_text(shape: Sequence[int | None]) -> str:
    """(1, None, 3) → '1×?×3'."""
    return "×".join("?" if length is None else str(length) for length in shape)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on stdout: drawn on a terminal, aligned columns elsewhere. Columns named with `>` are right-aligned."""
    heads = [column.lstrip(">") for column in columns]
    right = [column.startswith(">") for column in columns]
    if sys.stdout.isatty():
        _draw(title, heads, right, rows)
        return
    widths = [max(len(text) for text in texts) for texts in zip(heads, *rows, strict=True)]
    if title:
        print(title)
    for row in (heads, *rows):
        cells = [t.rjust(w) if r else t.ljust(w) for t, w, r in zip(row, widths, right, strict=True)]
        print("  ".join(cells).rstrip())


def _draw(title: str, heads: Sequence[str], right: Sequence[bool], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(title=title or None, title_justify="left")
    for head, is_right in zip(heads, right, strict=True):
        drawn.add_column(head, justify="right" if is_right else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row))
    Console().print(drawn)
