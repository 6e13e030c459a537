"""`edgewright compress`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgewright.benchmarks.units import bytes_text
from edgewright.cli.console import Data, Json, StorePath, Trust, emit, progress, table
from edgewright.devices.spec import Spec

if TYPE_CHECKING:
    from edgewright.api.ledger import Ledger, Stage

HEADS = (
    "stage",
    "file",
    ">accuracy",
    ">points",
    ">parameters",
    ">× fewer",
    ">MACs",
    ">× fewer",
    ">size",
    ">× smaller",
    ">(step)",
    ">median ms [95 %]",
    ">× faster",
    ">(step)",
)


def command(
    model: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help="package.module:factory or path/to/file.py:factory (default: recipe's)."),
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option("--recipe", metavar="FILE", help="An edgewright.toml with [[compress]].")
    ] = None,
    data: Data = None,
    to: Annotated[
        str,
        typer.Option("--to", metavar="SPEC[,SPEC…]", help="The file each stage is measured as; more: of the last one."),
    ] = "tflite:float32",
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Modules, files and ledger.json go there.")] = Path(
        "compressed"
    ),
    bench: Annotated[bool, typer.Option("--bench/--no-bench", help="Measure latency here.")] = True,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Repeat the passes (without any: the training) with this seed.")
    ] = None,
    store: StorePath = None,
    trust: Trust = False,
    json_: Json = False,
) -> None:
    """Train and compress a module as a recipe says, and show what each pass costs and saves.

    Example: edgewright compress --recipe edgewright.toml --to tflite:float32,tflite:int8 --out out
    """
    from edgewright import api
    from edgewright.errors import BadInput

    if recipe is None:
        raise BadInput("no --recipe: the passes stand in an edgewright.toml, as [[compress]] tables")
    specs = tuple(Spec.parse(text) for text in to.split(",") if text)
    ledger = api.compress_module(
        model, recipe=recipe, data=data, to=specs, out=out, store=store, bench=bench, seed=seed, trust=trust,
        progress=progress(),
    )  # fmt: skip
    if json_:
        emit(ledger.to_json())
    else:
        show(ledger)
    raise typer.Exit(1 if ledger.failures else 0)


def show(ledger: "Ledger") -> None:
    first = ledger.stages[0]
    labelled = first.accuracy is not None
    heads = HEADS if labelled else (*HEADS[:2], ">SNR dB", *HEADS[3:])
    rows = [_row(stage, first, ledger.stages[max(i - 1, 0)]) for i, stage in enumerate(ledger.stages)]
    shown = [i for i in range(len(heads)) if any(row[i] for row in rows)]
    table("", [heads[i] for i in shown], [[row[i] for i in shown] for row in rows])
    print(
        "×: against the original; (step): against the row above" + ("" if labelled else "; SNR: against the original")
    )
    print(f"answers: {ledger.samples or 'synthetic'} test samples" + ("" if labelled else ", without labels"))
    for reason in dict.fromkeys(stage.file.verdict.unverified for stage in ledger.stages if stage.file):
        print(f"unverified: {reason}" if reason else "", end="\n" if reason else "")
    for failure in ledger.failures:
        print(f"FAILED: {failure}")
    made = sum(not stage.module.from_store for stage in ledger.stages)
    print(f"\n{ledger.out}: modules, files and ledger.json in {ledger.seconds:.1f} s ({made} passes made now)")


def _row(stage: "Stage", first: "Stage", before: "Stage") -> list[str]:
    from edgewright.api.ledger import change

    whole, step = change(first, stage), change(before, stage)
    later = stage is not first
    return [
        stage.name,
        str(stage.spec),
        _answers(stage),
        f"{-100 * whole.accuracy_drop:+.2f}" if later and whole.accuracy_drop is not None else "",
        f"{stage.parameters:,}",
        _times(whole.parameters, later),
        "" if stage.macs is None else f"{stage.macs:,}",
        _times(whole.macs, later),
        "not made" if stage.size_bytes is None else bytes_text(stage.size_bytes),
        _times(whole.size_bytes, later),
        _times(step.size_bytes, later),
        _latency(stage),
        _times(whole.latency, later),
        _times(step.latency, later),
    ]


def _samples(ledger: "Ledger") -> str:
    return f"{ledger.samples} test samples" if ledger.samples else "synthetic probes"


def _answers(stage: "Stage") -> str:
    from edgewright.cli.build import snr_text

    if stage.accuracy is not None:
        return f"{stage.accuracy:.2%}"
    return "-" if stage.snr_db is None else snr_text(stage.snr_db)


def _times(ratio: float | None, later: bool) -> str:
    return f"{ratio:.2f}" if later and ratio is not None else ""


def _latency(stage: "Stage") -> str:
    if isinstance(stage.timing, str):
        return ""
    low, high = stage.timing.interval_ms
    return f"{stage.timing.median_ms:.3f} [{low:.3f}, {high:.3f}]"
