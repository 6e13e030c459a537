"""Packages made by coremltools itself, for the evaluator's tests."""

import gc
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

logging.getLogger("coremltools").setLevel(logging.ERROR)


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[Callable[[str], Any]], Path]:
    """The package that a function converts into the place that it is given."""

    def save(convert: Callable[[str], Any]) -> Path:
        gc.freeze()  # coremltools collects garbage in every conversion: half a second over all of torch
        with warnings.catch_warnings():  # and it leaves temporary folders to the garbage collector
            warnings.simplefilter("ignore")
            convert(str(tmp_path / "m.mlpackage"))
            gc.collect()
        gc.unfreeze()
        return tmp_path / "m.mlpackage"

    return save
