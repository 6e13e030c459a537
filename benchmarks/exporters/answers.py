"""Which files load where, and how near their answers are to those of the float network in ONNX Runtime."""

import multiprocessing
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from edgewright.benchmarks.exporters.environments import OURS, OURS_MIXED, PEERS
from edgewright.benchmarks.exporters.files import Files, Network
from edgewright.benchmarks.exporters.samples import Array, fitted, order
from edgewright.benchmarks.quantization.metrics import snr_db
from edgewright.benchmarks.quantization.runners import TFLITE_RUNNERS, ort_session
from edgewright.benchmarks.quantization.table import Bar, Row, Table
from edgewright.data import Samples
from edgewright.errors import Error
from edgewright.runtimes.tflite_view import open_tflite

Found = Mapping[str, float | str]
"""SNR in dB by runtime, or why it gave none."""

LITERT = ("LiteRT + XNNPACK", "LiteRT builtin")
BROAD = (*LITERT, "tflite-runtime")
"""Where every file of ours must run; tflite-micro has about a hundred operators."""

NOISE_DB = 0.5
GARBAGE_DB = 3.0
"""Kernels that misread a file answer with noise: 0 dB."""

EXACT_DB = 90.0
"""From here on two float32 files are equally right: what is left is the order of additions."""

REASON = 80


def of_precision(files: Files, names: Sequence[str], precision: str) -> Table:
    """Bars: ours answers wherever it must, and not worse than the best peer in LiteRT with XNNPACK."""
    rows: list[Row] = []
    bars: list[Bar] = []
    for network in map(files.network, names):
        files.say(f"{network.name}: answers of {precision}")
        found = {name: of_file(network, made) for name, made in files.of_all(network, precision).items()}
        rows += [{"network": network.name, "file": name, **_cells(row)} for name, row in found.items()]
        ours = found.get(OURS_MIXED, found[OURS])
        wrong = sum(not is_right(ours.get(runtime)) for runtime in BROAD)
        bars.append(Bar(f"{network.name} {precision}: runtimes without a right answer of ours", wrong, 0, at_most=True))
        best = max((_number(found[peer]) for peer in PEERS), default=float("-inf"))
        if np.isfinite(best):
            what = f"{network.name} {precision}: SNR in dB, the best peer has {best:.1f}"
            bars.append(Bar(what, _number(ours), min(best, EXACT_DB) - NOISE_DB))
    return Table(f"SNR of {precision} files in dB against float32 in ONNX Runtime", rows, bars)


def of_file(network: Network, made: Path | str) -> Found:
    if isinstance(made, str):
        return {"LiteRT + XNNPACK": made}
    return {runtime: apart(runtime, made, network) for runtime in TFLITE_RUNNERS}


def apart(runtime: str, path: Path, network: Network) -> float | str:
    """The SNR, computed in a process of its own: a runtime may die on a file."""
    context = multiprocessing.get_context("fork")
    mine, its = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(its, runtime, path, network))
    process.start()
    its.close()
    try:
        found: float | str = mine.recv()
    except EOFError:
        process.join()
        found = f"the process died ({process.exitcode})"
    process.join()
    return found


def _answer(its: Connection, runtime: str, path: Path, network: Network) -> None:
    try:
        its.send(snr_of(runtime, path, network))
    except (Error, ValueError, RuntimeError) as error:
        its.send(" ".join(str(error).removeprefix(f"{path}: ").split()) or type(error).__name__)


def snr_of(runtime: str, path: Path, network: Network) -> float:
    """On the test samples. Raises what the runtime raises."""
    samples: Array = np.load(network.samples("test"))
    reference = expected(network, samples)
    contract = open_tflite(path).contract
    [taken], [given] = contract.inputs, contract.outputs
    answers = TFLITE_RUNNERS[runtime](path, Samples({taken.name: fitted(samples, taken.shape)}))[given.name]
    back = np.argsort(order((1, *reference.shape[1:]), (1, *answers.shape[1:])))
    return snr_db(reference, answers.transpose(back))


def expected(network: Network, samples: Array) -> Array:
    session = ort_session(network.onnx, optimized=True)
    return np.concatenate([session.run(None, {"input": sample[None]})[0] for sample in samples])


def is_right(cell: float | str | None) -> bool:
    """Whether there is an answer, and one that has to do with the network."""
    return isinstance(cell, float) and cell >= GARBAGE_DB


def _cells(found: Found) -> Row:
    return {name: cell if isinstance(cell, float) else cell[:REASON] for name, cell in found.items()}


def _number(found: Found) -> float:
    cell = found.get("LiteRT + XNNPACK")
    return cell if isinstance(cell, float) else float("-inf")
