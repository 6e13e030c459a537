"""coremltools' own tests of its operations, their predictions made by the evaluator instead of by a Mac.

    python -m edgewright.benchmarks.mil --their-tests 6

takes that many cases of each test. Some fail and say nothing against it: those marked as expected to fail on Apple's
runtime, those that compare float16 with the tolerance of float32 or count casts, lists, and random operations.
"""

import os
import sys
from collections import defaultdict
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from edgewright.runtimes.mil.interpreter import Machine
from edgewright.runtimes.mil.program import open_program


class Plugin:
    """What pytest is told: which cases, and who predicts."""

    def __init__(self, each: int) -> None:
        self._each = each
        self.predictions = 0

    def pytest_configure(self) -> None:
        import coremltools.converters.mil.testing_utils as testing  # type: ignore[import-untyped]
        import pytest
        from coremltools.models import MLModel, utils  # type: ignore[import-untyped]

        def predict(model: Any, data: dict[str, Any], state: dict[str, Any] | None = None) -> dict[str, Any]:
            if model.package_path is None:
                pytest.skip("no ML program")
            self.predictions += 1
            machine = Machine(open_program(Path(model.package_path)), state=state if state is not None else {})
            return machine.call({name: np.asarray(array) for name, array in data.items()}).outputs

        testing._IS_MACOS = True
        utils._macos_version = lambda: (15, 0)
        MLModel.predict = predict
        MLModel.make_state = lambda _model: {}

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        groups = defaultdict(list)
        for item in items:
            groups[item.nodeid.split("[")[0]].append(item)
        rng = Random(0)
        items[:] = [item for group in groups.values() for item in _some(rng, group, self._each)]


def run(each: int) -> int:
    """pytest's exit code."""
    import pytest
    from coremltools.converters.mil.mil.ops import tests  # type: ignore[import-untyped]

    os.environ |= {"PYMIL_TEST_TARGETS": "mlprogram", "INCLUDE_MIL_FP32_UNIT_TESTS": "1"}
    words = ["-q", "--no-header", "--tb=line", "-W", "ignore", "-p", "no:cacheprovider", "-k", "not fp16"]
    plugin = Plugin(each)
    code = pytest.main([*words, str(Path(tests.__file__).parent)], [plugin])
    print(f"{plugin.predictions} predictions", file=sys.stderr)
    return int(code)


def _some(rng: Random, group: list[Any], count: int) -> list[Any]:
    return group if len(group) <= count else [group[place] for place in sorted(rng.sample(range(len(group)), count))]
