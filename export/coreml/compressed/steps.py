"""coreml:palettized and coreml:sparse: float16 programs whose weights are stored in fewer bytes."""

from functools import partial
from pathlib import Path

import numpy as np

from edgewright.export.coreml.compressed.compress import palettize_program, sparsify_program
from edgewright.export.coreml.compressed.options import PaletteOptions, SparseOptions
from edgewright.export.coreml.convert import MEASURING, convert
from edgewright.export.steps import Job, Notes, step
from edgewright.runtimes.artifact import Artifact


@step(
    source="onnx:float32",
    target="coreml:palettized",
    needs=MEASURING,
    cost=0.6,
    options=PaletteOptions,
    uses_data="if given",
)
def coreml_palettized(source: Artifact, out: Path, job: Job, options: PaletteOptions) -> Notes:
    """Weights as indices into tables of 2^bits values; arithmetic as in `coreml_float16`."""
    return convert(source.path, out, options, np.float16, job, partial(palettize_program, options=options))


@step(
    source="onnx:float32",
    target="coreml:sparse",
    needs=MEASURING,
    cost=0.5,
    options=SparseOptions,
    uses_data="if given",
)
def coreml_sparse(source: Artifact, out: Path, job: Job, options: SparseOptions) -> Notes:
    """Weights as a bit mask and what is not zero; arithmetic as in `coreml_float16`."""
    return convert(source.path, out, options, np.float16, job, partial(sparsify_program, options=options))
