"""Where an int8 model loses: the noise that each operator adds, gathers, and costs at the outputs."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgewright.data import Samples
from edgewright.export.onnx.quantize.calibrate import batches, open_session
from edgewright.export.onnx.quantize.local import Branch, Merged, merge, only
from edgewright.export.onnx.quantize.quantized import EXACT_DB
from edgewright.progress import Progress
from edgewright.runtimes.contract import Contract

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True)
class OpNoise:
    """SNR in dB (200 stands for exact) of one operator's output `tensor`, higher is better.

    `local_db`: fed with the float model's values, on the truth's grids: its own noise (after operators in float: from
    the last quantized tensors before them) · `cumulative_db`: in the running int8 model · `output_db`: of the model's
    worst output when this operator alone is quantized. None: not quantized, or not asked for. `added` is the share of
    noise (noise power / signal power) that its inputs do not explain.
    """

    op: str
    node: str
    tensor: str
    int8: bool
    local_db: float | None
    cumulative_db: float
    added: float
    output_db: float | None = None


@dataclass(frozen=True)
class Sensitivity:
    """Operators in the order of the int8 model, measured on `samples`; `culprit` is the tensor that adds most noise."""

    ops: tuple[OpNoise, ...]
    culprit: str | None
    samples: int


@dataclass
class Noise:
    """Powers of a signal and of what differs from it, summed over batches."""

    signal: float = 0.0
    noise: float = 0.0

    def add(self, reference: NDArray[Any], answer: NDArray[Any]) -> None:
        truth = np.asarray(reference, np.float64)
        self.signal += float(np.sum(truth**2))
        self.noise += float(np.sum((np.asarray(answer, np.float64) - truth) ** 2))

    @property
    def share(self) -> float:
        """Noise power / signal power."""
        return self.noise / max(self.signal, 1e-300)

    @property
    def snr_db(self) -> float:
        return EXACT_DB if self.noise == 0 else min(EXACT_DB, float(-10 * np.log10(self.share)))


def measure(
    floating: "ir.Model",
    truth: "ir.Model",
    contract: Contract,
    samples: Samples,
    progress: Progress,
    *,
    outputs: bool = False,
) -> Sensitivity:
    """Local and cumulative noise of every operator, batch by batch; with `outputs` also what each costs alone.

    Raises BadInput when the models share no tensor names, BadData when the samples do not fit.
    """
    merged = merge(floating, truth)
    branches = merged.branches
    local = [branch for branch in branches if branch.local is not None]
    inputs = {info.name for info in contract.inputs}
    tensors = sorted({branch.tensor for branch in branches} - inputs)
    beside = open_session(merged.model, [*tensors, *(str(branch.local) for branch in local)], optimize=False)
    running = open_session(truth, sorted({branch.truth for branch in branches} - inputs), optimize=False)
    own = {branch.tensor: Noise() for branch in local}
    gathered = {branch.tensor: Noise() for branch in branches}
    with progress.task("sensitivity", len(samples)) as advance:
        for batch in batches(contract, samples):
            merged_values = batch | _run(beside, batch)
            truth_values = batch | _run(running, batch)
            for branch in local:
                own[branch.tensor].add(merged_values[branch.tensor], merged_values[str(branch.local)])
            for branch in branches:
                gathered[branch.tensor].add(merged_values[branch.tensor], truth_values[branch.truth])
            advance(len(next(iter(batch.values()))))
    int8 = [branch for branch in branches if branch.int8]
    alone = output_snr(merged, int8, contract, samples, progress) if outputs else {}
    rows = tuple(_row(branch, own, gathered, alone) for branch in branches)
    return Sensitivity(rows, culprit_of(rows), len(samples))


def output_snr(
    merged: Merged, branches: Sequence[Branch], contract: Contract, samples: Samples, progress: Progress
) -> dict[str, float]:
    """Tensor of each branch → SNR in dB of the worst output when that operator alone is quantized."""
    names = [info.name for info in contract.outputs]
    fed = list(batches(contract, samples))
    float_session = open_session(merged.model, optimize=False)
    reference = [float_session.run(names, batch) for batch in fed]
    found: dict[str, float] = {}
    with progress.task("sensitivity of the outputs", len(branches)) as advance:
        for branch in branches:
            session = open_session(only(merged, branch), optimize=False)
            noises = [Noise() for _ in names]
            for batch, truth in zip(fed, reference, strict=True):
                for noise, wanted, answer in zip(noises, truth, session.run(names, batch), strict=True):
                    noise.add(wanted, answer)
            found[branch.tensor] = min(noise.snr_db for noise in noises)
            advance(1)
    return found


def culprit_of(rows: Sequence[OpNoise]) -> str | None:
    """The tensor whose operator adds the largest share of noise beyond that of its noisiest input."""
    worst = max(rows, key=lambda row: row.added, default=None)
    return worst.tensor if worst is not None and worst.added > 0 else None


def added_share(share: float, inputs: Iterable[float]) -> float:
    """The share of noise that the noisiest input does not explain."""
    return share - max(inputs, default=0.0)


def _row(
    branch: Branch, own: Mapping[str, Noise], gathered: Mapping[str, Noise], alone: Mapping[str, float]
) -> OpNoise:
    local = own.get(branch.tensor)
    noise = gathered[branch.tensor]
    return OpNoise(
        op=branch.op,
        node=branch.node,
        tensor=branch.tensor,
        int8=branch.int8,
        local_db=None if local is None else round(local.snr_db, 2),
        cumulative_db=round(noise.snr_db, 2),
        added=added_share(noise.share, (gathered[name].share for name in branch.reads if name in gathered)),
        output_db=round(alone[branch.tensor], 2) if branch.tensor in alone else None,
    )


def _run(session: Any, batch: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    names: Collection[str] = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, batch), strict=True))
