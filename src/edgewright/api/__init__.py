"""The Python API: what the command line calls. `import edgewright` re-exports it, loaded on first use."""

from edgewright.api.bench import bench, compare, fit
from edgewright.api.build import build
from edgewright.api.c_array import to_c_array
from edgewright.api.compress import compress_module
from edgewright.api.convert import convert
from edgewright.api.environment import doctor, list_devices, ops
from edgewright.api.files import arena, inspect, load, run, verify
from edgewright.api.mac import mac_results, mac_script
from edgewright.api.neural_engine import neural_engine
from edgewright.api.sensitivity import sensitivity
from edgewright.api.staged import early_exit, staged

__all__ = [
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
