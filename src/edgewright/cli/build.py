"""`edgewright build`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgewright.benchmarks.units import bytes_text
from edgewright.cli.console import Data, Json, StorePath, Trust, emit, progress, table

if TYPE_CHECKING:
    from edgewright.api.result import Build
    from edgewright.export.hop import Hop

HEADS = (
    "artifact",
    ">size",
    ">accuracy",
    ">top-1 same",
    ">SNR dB",
    ">median ms [95 %]",
    ">p90 ms",
    ">peak RAM",
    "state",
)


def command(
    model: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help="package.module:factory, path/to/file.py:factory, a .pt2 or an .onnx."),
    ] = None,
    for_: Annotated[
        str, typer.Option("--for", metavar="DEVICE[,DEVICE…]", help="Targets, see `edgewright devices`.")
    ] = "",
    recipe: Annotated[Path | None, typer.Option("--recipe", metavar="FILE", help="An edgewright.toml.")] = None,
    data: Data = None,
    precision: Annotated[
        str, typer.Option("--precision", help="auto (all that the devices take), float32, float16, int8, mixed, …")
    ] = "auto",
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the artifacts and the report go.")] = Path(
        "build"
    ),
    bench: Annotated[bool, typer.Option("--bench/--no-bench", help="Measure latency and memory here.")] = True,
    store: StorePath = None,
    trust: Trust = False,
    json_: Json = False,
) -> None:
    """Compress, export, verify and measure a model for devices.

    Example: edgewright build model.py:net --for raspberry-pi-4,wear-os-w5 --data samples.npz --out out
    """
    from edgewright import api
    from edgewright.api.bundle import manifest

    devices = [name for name in for_.split(",") if name]
    built = api.build(
        model, devices=devices, recipe=recipe, data=data, precision=precision, out=out, store=store, bench=bench,
        trust=trust, progress=progress(),
    )  # fmt: skip
    if json_:
        emit(manifest(built))
    else:
        show(built)
    raise typer.Exit(1 if built.failures else 0)


def show(built: "Build") -> None:
    from edgewright.api.result import shown

    table("", HEADS, [_row(built, hop) for hop in shown(built.hops)])
    timed = any(not isinstance(timing, str) for timing in built.timings.values())
    print(
        "top-1: same answer as the original; SNR: against the parent"
        + ("; latency, RAM: measured here" if timed else "")
    )
    print()
    verdicts = {(fit.device, hop.name): str(fit.verdict) for hop, fit in built.fits}
    exported = list(dict.fromkeys(hop.name for hop, _ in built.fits))
    devices = built.recipe.devices
    table("", ["fits?", *devices], [(name, *(verdicts[device, name] for device in devices)) for name in exported])
    print()
    for device, hop in built.best.items():
        print(f"{device}: {_advice(hop)}")
    for spec, why in built.plan.blocked.items():
        print(f"not built: {spec}: {why}")
    for reason in dict.fromkeys(hop.verdict.unverified for hop in built.hops if hop.verdict.unverified):
        print(f"unverified: {reason}")
    for stand_in in dict.fromkeys(f"{v.runtime}: {v.caution}" for v in (h.verdict for h in built.hops) if v.caution):
        print(f"verified by {stand_in}")
    for failure in built.failures:
        print(f"FAILED: {failure}")
    made = sum(not hop.from_store for hop in built.hops)
    print(
        f"\n{built.out}: {len(built.hops)} artifacts, manifest.json, report.html in {built.seconds:.1f} s "
        f"({made} made, {len(built.hops) - made} from the store)"
    )


def _advice(hop: "Hop | None") -> str:
    from edgewright.api.result import file_name

    if hop is None:
        return "nothing fits"
    proof = ", its answers unverified here" if hop.verdict.unverified else ""
    return f"ship {file_name(hop)} ({bytes_text(hop.artifact.size_bytes)}{proof})"


def _row(built: "Build", hop: "Hop") -> tuple[str, ...]:
    from edgewright.api.result import status

    answers, parent, timing = hop.verdict.vs_original, hop.verdict.vs_parent, built.timings[hop.name]
    fidelity = ("-", "-", "-")
    state = status(hop)
    if answers is not None:
        accuracy = "-" if answers.accuracy is None else f"{answers.accuracy:.2%}"
        same = "-" if answers.top1_agreement is None or state == "original" else f"{answers.top1_agreement:.2%}"
        fidelity = (accuracy, same, "-" if parent is None else snr_text(parent.snr_db))
    times = ("-", "-", "-")
    if not isinstance(timing, str):
        low, high = timing.interval_ms
        median = f"{timing.median_ms:.3f} [{low:.3f}, {high:.3f}]"
        times = (median, f"{timing.p90_ms:.3f}", bytes_text(timing.peak_ram_bytes))
    return (hop.name, bytes_text(hop.artifact.size_bytes), *fidelity, *times, state)


def snr_text(snr_db: float) -> str:
    return "exact" if snr_db == float("inf") else f"{snr_db:.1f}"
