"""edgewright: from a PyTorch module or an ONNX file to files that run on watches, phones and small boards."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgewright.api import (
        arena,
        bench,
        build,
        compare,
        compress_module,
        convert,
        doctor,
        early_exit,
        fit,
        inspect,
        list_devices,
        load,
        mac_results,
        mac_script,
        neural_engine,
        ops,
        run,
        sensitivity,
        staged,
        to_c_array,
        verify,
    )

__version__ = "0.1.0"

__all__ = [
    "__version__",
    "arena",
    "bench",
    "build",
    "compare",
    "compress_module",
    "convert",
    "doctor",
    "early_exit",
    "fit",
    "inspect",
    "list_devices",
    "load",
    "mac_results",
    "mac_script",
    "neural_engine",
    "ops",
    "run",
    "sensitivity",
    "staged",
    "to_c_array",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Load the API on first use, so that `import edgewright` and a device's agent stay light."""
    if name not in __all__:
        raise AttributeError(f"module 'edgewright' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("edgewright.api"), name)
