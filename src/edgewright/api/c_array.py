"""`c_array`: a .tflite file as C++ source for tflite-micro."""

from collections.abc import Sequence
from pathlib import Path

from edgewright.errors import BadInput
from edgewright.export.metadata import read_labels
from edgewright.export.tflite.c_array import HEADER, c_array, check_c_name
from edgewright.staging import replacing


def to_c_array(model: Path | str, out: Path | str, *, labels: Path | str | None = None) -> tuple[Path, Path]:
    """Write the bytes of a .tflite file, its arena size, scales and operators as a header and a source; gives both.

    `out` names either of the two. Raises UnsupportedOps or BadModel where tflite-micro cannot run the file.
    """
    place = Path(out)
    check_c_name(place)
    if Path(model).suffix != ".tflite":
        raise BadInput(f"{model}: a C array holds a .tflite file")
    return write_c_array(Path(model), place, read_labels(Path(labels)) if labels is not None else ())


def write_c_array(model: Path, out: Path, labels: Sequence[str]) -> tuple[Path, Path]:
    """Both files, or none."""
    header, source = out.with_suffix(HEADER), out.with_suffix(".cc") if out.suffix == HEADER else out
    made = c_array(model, out.stem, labels)
    with replacing(header) as aside, replacing(source) as beside:
        aside.write_text(made.header)
        beside.write_text(made.source)
    return header, source
