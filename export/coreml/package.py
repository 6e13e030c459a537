"""A MIL program → an .mlpackage folder whose bytes depend on nothing but the program and its metadata."""

import contextlib
import io
import json
import logging
import uuid
import warnings
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from edgewright.errors import Error
from edgewright.export.coreml.interface import LABEL, Interface
from edgewright.export.coreml.lengths import for_any_length
from edgewright.export.coreml.program import MilProgram
from edgewright.export.onnx.opening import Trial
from edgewright.runtimes.read.mil_proto import Weights
from edgewright.staging import replacing

MODEL, WEIGHTS = "com.apple.CoreML/model.mlmodel", "com.apple.CoreML/weights"

# The graph comes clean and is lowered as it shall run; only housekeeping is left to coremltools' passes.
PASSES = ("common::dead_code_elimination", "common::const_deduplication", "common::dedup_op_and_var_names")


@contextlib.contextmanager
def quiet_coremltools() -> Iterator[None]:
    """Keeps coremltools' advice about other packages' versions out of the terminal, also while it is imported."""
    logger = logging.getLogger("coremltools")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def serialize(program: Any, interface: Interface, package: Path) -> Any:
    """Write the package at `package` by coremltools and return its specification."""
    import coremltools as ct  # type: ignore[import-untyped]

    labels = ct.ClassifierConfig(list(interface.metadata.labels), LABEL) if interface.scores is not None else None
    if labels is not None:
        main = program.functions["main"]
        index = [info.name for info in interface.contract.outputs].index(str(interface.scores))
        labels.predicted_probabilities_output = main.outputs[index].name
    # Its progress bars know no switch, and it leaves its temporary folders to the garbage collector.
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        model = ct.convert(
            program,
            source="milinternal",
            convert_to="mlprogram",
            minimum_deployment_target=ct.target[interface.options.opset],
            compute_precision=ct.precision.FLOAT32,  # the program says its precision itself
            pass_pipeline=ct.PassPipeline(list(PASSES)),
            classifier_config=labels,
            skip_model_load=True,
            package_dir=str(package),
        )
    return model.get_spec()


def write_package(
    programs: Iterator[MilProgram], interface: Interface, out: Path, trials: Sequence[Trial] = ()
) -> tuple[Any, MilProgram]:
    """The package at `out`, made beside it and renamed once: its specification, and its program.

    A second program is the first with longer open axes, at the second lengths of `trials`: the file is written for
    any lengths then.
    Raises UnsupportedOps where that cannot be, WriteFailed.
    """
    with replacing(out) as package:
        first = next(programs)
        spec = serialize(first.program, interface, package)
        for longer in programs:
            with TemporaryDirectory() as folder:
                aside = Path(folder) / "longer.mlpackage"
                other = serialize(longer.program, interface, aside)
                for_any_length(spec, other, weights_of(package), weights_of(aside), trials)
        interface.declare(spec, first.renamed)
        check_program(spec, package)
        content = spec.SerializeToString(deterministic=True)
        (package / "Data" / MODEL).write_bytes(content)
        (package / "Data" / WEIGHTS).mkdir(exist_ok=True)
        (package / "Manifest.json").write_text(manifest(content), encoding="utf-8")
    return spec, first


def check_program(spec: Any, package: Path) -> None:
    """Read a program back by coremltools, which infers every shape and type anew. Raises Error where they differ."""
    from coremltools.converters.mil.frontend.milproto.load import load  # type: ignore[import-untyped]

    try:
        load(spec, spec.specificationVersion, str(package / "Data" / WEIGHTS))
    except (AssertionError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        raise Error(
            f"coremltools does not read the program that was written: {error}; please report this model"
        ) from error


def weights_of(package: Path) -> Weights:
    return Weights((package / "Data" / MODEL).parent)


def manifest(model: bytes) -> str:
    """coremltools' manifest with ids that follow from the model instead of from chance."""
    ids = [str(uuid.UUID(bytes=sha256(name.encode() + model).digest()[:16], version=4)) for name in (MODEL, WEIGHTS)]
    kinds = ("Specification", "Weights")
    entries = {
        identifier: {
            "author": "com.apple.CoreML",
            "description": f"CoreML Model {kind}",
            "name": Path(path).name,
            "path": path,
        }
        for identifier, kind, path in zip(ids, kinds, (MODEL, WEIGHTS))
    }
    document = {"fileFormatVersion": "1.0.0", "itemInfoEntries": entries, "rootModelIdentifier": ids[0]}
    return json.dumps(document, indent=4, sort_keys=True) + "\n"
