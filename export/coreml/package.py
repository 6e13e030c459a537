"""A MIL program → an .mlpackage folder whose bytes depend on nothing but the program and its metadata."""

import contextlib
import io
import json
import logging
import uuid
import warnings
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from edgewright.export.coreml.options import CoremlOptions
from edgewright.staging import replacing

DATE_KEY = "com.github.apple.coremltools.conversion_date"
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


def serialize(program: Any, options: CoremlOptions, metadata: dict[str, str], package: Path) -> Any:
    """Write the package at `package` by coremltools, take out what is random, and return its specification."""
    import coremltools as ct  # type: ignore[import-untyped]

    # Its progress bars know no switch, and it leaves its temporary folders to the garbage collector.
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        model = ct.convert(
            program,
            source="milinternal",
            convert_to="mlprogram",
            minimum_deployment_target=ct.target[options.opset],
            compute_precision=ct.precision.FLOAT32,  # the program says its precision itself
            pass_pipeline=ct.PassPipeline(list(PASSES)),
            skip_model_load=True,
            package_dir=str(package),
        )
    spec = model.get_spec()
    about = spec.description.metadata
    about.userDefined.pop(DATE_KEY, None)
    about.userDefined.update(metadata)
    about.author, about.license, about.versionString = options.author, options.licence, options.version
    return spec


def write_package(program: Any, options: CoremlOptions, metadata: dict[str, str], out: Path) -> Any:
    """The package at `out`, made beside it and renamed once; returns its specification. Raises WriteFailed."""
    with replacing(out) as package:
        spec = serialize(program, options, metadata, package)
        content = spec.SerializeToString(deterministic=True)
        (package / "Data" / MODEL).write_bytes(content)
        (package / "Data" / WEIGHTS).mkdir(exist_ok=True)
        (package / "Manifest.json").write_text(manifest(content), encoding="utf-8")
    return spec


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
