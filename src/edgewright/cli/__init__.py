"""The command line: one file a command in this folder, found by walking; it only calls the API and prints."""

import atexit
import gc
import importlib
import json
import pkgutil
import sys

import typer

from edgewright.errors import Error

GARBAGE_OBJECTS = 100_000
"""Python looks for cycles of dead objects after 700 new ones by default, among millions that torch's exporter keeps:
a fifth of its time."""

app = typer.Typer(
    name="edgewright",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def root() -> None:
    """From a PyTorch module or an ONNX file to files that run on watches, phones and small boards."""


def _load_commands() -> None:
    """A command is a module with a function `command`; its file name is the command's name."""
    for info in pkgutil.iter_modules(__path__, __name__ + "."):
        module = importlib.import_module(info.name)
        function = getattr(module, "command", None)
        if function is not None:
            app.command(info.name.rpartition(".")[2].removesuffix("_"))(function)


def main() -> None:
    """Run; exit 0 done, 1 a check or budget failed, 2 unusable input. Errors raised on purpose show no traceback."""
    gc.set_threshold(GARBAGE_OBJECTS, 20, 100)
    atexit.register(gc.freeze)  # the process ends: to look for cycles once more took a second behind torch's exporter
    _load_commands()
    try:
        app()
    except Error as error:
        if "--json" in sys.argv:
            print(json.dumps({"error": str(error), "kind": type(error).__name__}))
        print(f"edgewright: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(0)
