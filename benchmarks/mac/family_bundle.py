"""The families of operations as packages, in float32 and float16, with what the evaluator answers: one folder."""

import contextlib
import gc
import io
import logging
import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from edgewright.benchmarks.mac.bundle import Call, Case, write_bundle
from edgewright.benchmarks.mac.families import FAMILIES, SHAPE, Family
from edgewright.benchmarks.mac.goldens import program_call
from edgewright.runtimes.mil.program import open_program
from edgewright.runtimes.read.mil_proto import load_spec

PRECISIONS = ("float32", "float16")
CALLS = 2


def write_families(out: Path) -> None:
    """Raises BadInput when `out` holds something else, MissingExtra without coremltools."""
    with TemporaryDirectory() as folder:
        write_bundle(out, list(_cases(Path(folder))))


def _cases(folder: Path) -> Iterator[Case]:
    for name, family in FAMILIES.items():
        for precision in PRECISIONS:
            package = folder / f"{name}-{precision}.mlpackage"
            write_family(family, precision, package)
            yield Case(package.stem, package, _calls(package))


def _calls(package: Path) -> list[Call]:
    program = open_program(package)
    drawn = np.random.default_rng(7).standard_normal((CALLS, *SHAPE)).astype(np.float32)
    return [program_call(program, {"x": array}) for array in drawn]


def write_family(family: Family, precision: str, package: Path) -> None:
    """The package of one family, the same bytes each time; input `x` and the outputs are float32."""
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    import coremltools as ct  # type: ignore[import-untyped]
    from coremltools.converters.mil import Builder  # type: ignore[import-untyped]

    def build(x: Any) -> Any:
        return tuple(Builder.identity(x=each, name=f"out_{name}") for name, each in family(Builder, x).items())

    program = Builder.program(input_specs=[Builder.TensorSpec(shape=SHAPE)], opset_version=ct.target.iOS17)(build)
    # coremltools' progress bars know no switch, and it leaves temporary folders to the garbage collector.
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ct.convert(
            program,
            source="milinternal",
            minimum_deployment_target=ct.target.iOS17,
            compute_precision=getattr(ct.precision, precision.upper()),
            skip_model_load=True,
            package_dir=str(package),
        )
        gc.collect()
    _without_chance(package)


def _without_chance(package: Path) -> None:
    """Take out the date and the random ids."""
    writer = import_module("edgewright.export.coreml.package")  # by name: what measures imports no exporter
    spec, folder = load_spec(package)
    spec.description.metadata.userDefined.clear()
    content = spec.SerializeToString(deterministic=True)
    (folder / "model.mlmodel").write_bytes(content)
    (package / "Manifest.json").write_text(writer.manifest(content), encoding="utf-8")
