"""torch → ONNX: the module as one clean float graph."""

import contextlib
import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgewright.errors import BadModel
from edgewright.export.lowering import INTERNAL_OPSET
from edgewright.export.onnx.file import check_finite, forget_weights, save_model
from edgewright.export.onnx.passes.corners import align_by_lengths
from edgewright.export.onnx.quiet import quiet
from edgewright.export.onnx.simplify import simplify
from edgewright.export.steps import Job, NoOptions, Notes, step
from edgewright.runtimes.artifact import Artifact
from edgewright.runtimes.contract import Contract

if TYPE_CHECKING:
    import onnx_ir as ir
    import torch


TORCH_ADVICE = ("For ", "If you suspect", "Caused by")
"""How lines begin that tell torch's developers where to look."""

REASON_LENGTH = 600


@step(
    source="torch:float32",
    target="onnx:float32",
    needs={"torch": "torch", "onnx": "onnx", "onnx-ir": "onnx", "onnxscript": "onnx"},
    cost=5.0,
)
def capture(source: Artifact, out: Path, job: Job, options: NoOptions) -> Notes:  # noqa: ARG001
    """Trace the module with torch.export, translate it to ONNX and simplify it."""
    from edgewright.runtimes.module.folder import load_module

    loaded = load_module(source.path, trusted=source.trusted)
    return write_module(loaded.module, loaded.example_inputs, loaded.contract, out)


def write_module(
    module: "torch.nn.Module", example_inputs: "Mapping[str, torch.Tensor]", contract: Contract, out: Path
) -> Notes:
    """The module as a simplified ONNX file at `out`. Raises what `capture_module` raises."""
    names = [info.name for info in contract.outputs]
    model, counts = simplify(capture_module(module, example_inputs, names))
    counts |= {align_by_lengths.__name__: align_by_lengths(model)}
    save_model(model, contract, out)
    forget_weights(model)
    return {"opset": INTERNAL_OPSET, "passes": counts, "nodes": len(model.graph)}


def capture_module(
    module: "torch.nn.Module", example_inputs: "Mapping[str, torch.Tensor]", output_names: Sequence[str] | None = None
) -> "ir.Model":
    """The module as ONNX, not yet simplified; inputs are given in order and named by the keys of `example_inputs`.

    Raises BadModel when torch cannot export it, naming torch's reason, or when weights hold NaN.
    """
    import onnx_ir.passes.common as common_passes
    import torch

    _check_output_names(example_inputs, output_names)
    with _quiet(), torch.no_grad():
        try:
            program = torch.onnx.export(
                module.eval(),
                tuple(example_inputs.values()),
                dynamo=True,
                opset_version=INTERNAL_OPSET,
                input_names=list(example_inputs),
                output_names=list(output_names) if output_names else None,
                optimize=False,
                verbose=False,
            )
        except Exception as error:  # torch wraps whatever the module's code raised
            raise BadModel(_explain(module, error)) from error
    assert program is not None
    model = program.model
    common_passes.ClearMetadataAndDocStringPass()(model)  # stack traces of the user's files
    check_finite(model, type(module).__name__)
    return model


def _check_output_names(example_inputs: "Mapping[str, torch.Tensor]", output_names: Sequence[str] | None) -> None:
    names = [*example_inputs, *(output_names or ())]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadModel(f"inputs and outputs share the name(s) {twice}; ONNX wants each once: rename them")


def _explain(module: "torch.nn.Module", error: Exception) -> str:
    """The innermost reason, in a few lines, and what to do about it."""
    root: BaseException = error
    while (inner := root.__cause__ or root.__context__) is not None:
        root = inner
    lines = [line.strip() for line in str(root).splitlines() if line.strip()]
    reason = " ".join(line for line in lines if not line.startswith(TORCH_ADVICE))[:REASON_LENGTH]
    return (
        f"torch cannot export {type(module).__name__}: {type(root).__name__}: {reason}\n"
        "The module must run on tensors alone, without branches on their values: replace such branches by torch.where "
        "(torch.export.export(module, inputs) shows where), or give an .onnx file instead."
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what torch's exporter says of packages, of its own deprecations and of the graphs that it traced.

    It helps nobody, and what comes out is verified.
    """
    loggers = quiet("torch.onnx", "onnxscript", "onnx_ir", "torch.export", "torch.fx")
    with loggers, warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
