"""A folder that Python imports as coremltools and that answers by edgewright's evaluator, where there is no Mac.

It has what the script uses: `MLModel` with `predict`, compute units, and a compute plan. Where the variable
STAND_IN is "broken" its GPU refuses and its Neural Engine answers 1 % too much.
"""

import importlib.util
from pathlib import Path

MODULE = """
import enum, os
from pathlib import Path
from types import SimpleNamespace
import numpy as np
from edgewright.runtimes.mil.interpreter import Machine
from edgewright.runtimes.mil.program import open_program

__version__ = "stand-in"
MODE = os.environ.get("STAND_IN", "")

class ComputeUnit(enum.Enum):
    ALL = 1
    CPU_AND_GPU = 2
    CPU_ONLY = 3
    CPU_AND_NE = 4

class MLModel:
    def __init__(self, path, compute_units):
        if MODE == "broken" and compute_units is ComputeUnit.CPU_AND_GPU:
            raise RuntimeError("no GPU here")
        self.path, self.units = path, compute_units
        self.program = open_program(Path(path))

    def predict(self, data):
        answers = Machine(self.program, "float16-storage").call(data).outputs
        if MODE == "broken" and self.units is ComputeUnit.CPU_AND_NE:
            answers = {name: array * np.float32(1.01) for name, array in answers.items()}
        return answers

    def get_compiled_model_path(self):
        return self.path

from . import models
models.MLModel = MLModel
"""

PLAN = """
from pathlib import Path
from types import SimpleNamespace
from edgewright.runtimes.read.mil_blocks import read_program

class MLCPUComputeDevice: pass
class MLGPUComputeDevice: pass
class MLNeuralEngineComputeDevice: pass

class MLComputePlan:
    def __init__(self, path):
        block = converted(read_program(Path(path)).block)
        program = SimpleNamespace(functions={"main": SimpleNamespace(block=block)})
        self.model_structure = SimpleNamespace(program=program)

    @classmethod
    def load_from_path(cls, path, compute_units):
        return cls(path)

    def get_compute_device_usage_for_mlprogram_operation(self, operation):
        supported = [MLCPUComputeDevice(), MLGPUComputeDevice()]
        if not operation.operator_name.endswith("linear"):
            supported.append(MLNeuralEngineComputeDevice())
        return SimpleNamespace(preferred_compute_device=supported[-1], supported_compute_devices=supported)

    def get_estimated_cost_for_mlprogram_operation(self, operation):
        return SimpleNamespace(weight=0.5)

def converted(block):
    return SimpleNamespace(operations=list(map(operation, block.operations)))

def operation(each):
    name, blocks = "ios17." + each.type, list(map(converted, each.blocks))
    return SimpleNamespace(operator_name=name, outputs=each.outputs, blocks=blocks)
"""


def write_stand_in(folder: Path) -> Path:
    """The folder for PYTHONPATH. Messages come from the real coremltools, by a link."""
    package = folder / "coremltools"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text(MODULE)
    (package / "models" / "__init__.py").write_text("")
    (package / "models" / "compute_plan.py").write_text(PLAN)
    real = importlib.util.find_spec("coremltools")
    assert real is not None and real.submodule_search_locations is not None
    (package / "proto").symlink_to(Path(real.submodule_search_locations[0]) / "proto")
    return folder
