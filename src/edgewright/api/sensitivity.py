"""`sensitivity`: where an int8 or mixed artifact loses against its float model, operator by operator."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgewright.api.files import load
from edgewright.data import Samples, load_samples
from edgewright.devices.spec import Format
from edgewright.errors import BadInput
from edgewright.progress import Progress, Silent
from edgewright.runtimes.artifact import format_of
from edgewright.runtimes.read import Model, read

if TYPE_CHECKING:
    from edgewright.export.onnx.quantize.sensitivity import Sensitivity

MOST_SAMPLES = 64


def sensitivity(
    path: Path | str,
    against: Path | str,
    data: str,
    *,
    outputs: bool = False,
    samples: int = MOST_SAMPLES,
    progress: Progress | None = None,
) -> "Sensitivity":
    """SNR of every operator of `path` (``.onnx`` or ``.tflite``) against the clean float ONNX file `against`.

    An ONNX file has local and cumulative figures, and with `outputs` what each operator alone costs at the outputs; a
    TFLite file cumulative ones. Measured on at most `samples` of the validation part of DATA (of the test part where
    that is empty). Raises BadInput when the files share no tensor names, BadData when the samples do not fit.
    """
    progress = progress or Silent()
    table = read(Path(path))
    if format_of(Path(against)) is not Format.ONNX:
        raise BadInput(f"{against}: the reference is the float .onnx file")
    with tempfile.TemporaryDirectory() as folder:
        reference = _equalized_alike(Path(against), table.metadata, Path(folder))
        return _measured(Path(path), table, reference, data, outputs, samples, progress)


def _equalized_alike(against: Path, metadata: Mapping[str, str], folder: Path) -> Path:
    """The float file with the channels of its tensors scaled as those of the quantized file are."""
    from edgewright.export.onnx.file import contract_of, load_onnx, save_model
    from edgewright.export.onnx.quantize.equalize import replay
    from edgewright.export.onnx.quantize.factors import EQUALIZED_KEY, decode

    if EQUALIZED_KEY not in metadata:
        return against
    model = load_onnx(against)
    replay(model, decode(metadata[EQUALIZED_KEY]))
    save_model(model, contract_of(model), folder / against.name)
    return folder / against.name


def _measured(
    path: Path, table: Model, against: Path, data: str, outputs: bool, samples: int, progress: Progress
) -> "Sensitivity":
    original = load(against)
    first = original.contract.inputs[0]
    chosen = _validation(load_samples(data, shape=first.shape, input_name=first.name)).first(samples)
    if table.format is not Format.ONNX:
        if outputs:
            raise BadInput(f"{path}: what an operator alone costs at the outputs is measured on the .onnx file")
        from edgewright.export.cumulative import gathered

        return gathered(table, load(path), original, chosen, progress)
    from edgewright.export.onnx.file import contract_of, load_onnx
    from edgewright.export.onnx.quantize.sensitivity import measure

    floating, truth = load_onnx(Path(against)), load_onnx(Path(path))
    return measure(floating, truth, contract_of(floating), chosen, progress, outputs=outputs)


def _validation(samples: Samples) -> Samples:
    validation = samples.part("validation")
    return validation if len(validation) else samples.part("test")
