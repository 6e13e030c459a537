"""`edgewright verify`."""

from typing import TYPE_CHECKING, Annotated

import typer

from edgewright.benchmarks.units import ms_text
from edgewright.cli.console import Data, Json, Trust, emit, progress, table
from edgewright.errors import BadInput

if TYPE_CHECKING:
    from edgewright.api.mac import MacVerdict
    from edgewright.benchmarks.mac.results import OnUnit


def command(
    a: Annotated[str, typer.Argument(metavar="A", help="The artifact to trust.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The artifact to judge.")],
    data: Data = None,
    mac_script: Annotated[
        str | None,
        typer.Option("--mac-script", metavar="DIR", help="Write DIR for a Mac: B, expected answers and a script."),
    ] = None,
    mac_results: Annotated[
        str | None,
        typer.Option("--mac-results", metavar="FILE", help="Judge by the results.json that the script wrote there."),
    ] = None,
    trust: Trust = False,
    json_: Json = False,
) -> None:
    """Run two artifacts on the same samples (their test part); exit 1 when B does not answer like A.

    Example: edgewright verify model.onnx model.tflite --data samples.npz
    Example: edgewright verify model.onnx model.mlpackage --data samples.npz --mac-script for_the_mac
    Example: edgewright verify model.onnx model.mlpackage --mac-results results.json
    """
    from edgewright import api

    if mac_results is not None:
        if data is not None or mac_script is not None:
            raise BadInput("--mac-results brings its own samples: leave out --data and --mac-script")
        _judge_mac(a, b, mac_results, trust=trust, json_=json_)
    if data is None:
        raise BadInput("verify compares on samples: give --data, or --mac-results")
    if mac_script is not None:
        api.mac_script(a, b, data, mac_script, trust=trust, progress=progress())
        if json_:
            emit({"folder": mac_script})
        else:
            print(
                f"{mac_script} written; on a Mac: python3 {mac_script}/profile_on_mac.py, and bring back results.json"
            )
        return
    found = api.verify(a, b, data, trust=trust, progress=progress())
    measured = found.fidelity
    if json_:
        emit({"a": str(found.a.spec), "b": str(found.b.spec), "fidelity": measured.to_json(), "missed": found.missed})
    else:
        print(f"{b} ({found.b.spec}) against {a} ({found.a.spec}) on {measured.samples} samples")
        print(f"  SNR {measured.snr_db:.1f} dB, largest difference {measured.max_abs:.3g}")
        if measured.top1_agreement is not None:
            print(f"  top-1 the same on {measured.top1_agreement:.2%}")
        if measured.rows_agreement is not None:
            print(f"  rows found by both {measured.rows_agreement:.2%}")
        if measured.accuracy is not None:
            print(f"  accuracy of B {measured.accuracy:.2%}")
        print("  " + ("; ".join(found.missed) or "within the limits"))
    raise typer.Exit(1 if found.missed else 0)


def _judge_mac(a: str, b: str, results: str, *, trust: bool, json_: bool) -> None:
    from dataclasses import asdict

    from edgewright import api

    found = api.mac_results(a, b, results, trust=trust)
    if json_:
        named = {"spec": str(found.artifact.spec), "digest": found.artifact.digest}
        emit(asdict(found) | {"artifact": named, "measured_on": str(found.machine)})
    else:
        _show_mac(found, a, b)
    raise typer.Exit(1 if found.missed else 0)


def _show_mac(found: "MacVerdict", a: str, b: str) -> None:
    case = found.case
    print(f"{b} ({found.artifact.spec}) against {a}, {case.samples} calls: measured on {found.machine}")
    heads = ("units", ">load", ">first", ">median", ">p90", ">SNR to A", ">SNR to evaluator", "operations by device")
    table("", heads, [_row(unit) for unit in case.units])
    for line in found.surprises:
        print(f"  {line}")
    print("  " + ("; ".join(found.missed) or "within the limits"))


def _row(unit: "OnUnit") -> tuple[str, ...]:
    times = [
        "-" if each is None else ms_text(each) for each in (unit.load_ms, unit.first_ms, unit.median_ms, unit.p90_ms)
    ]
    ratios = [
        f"{unit.against[kind].snr_db:.1f} dB" if kind in unit.against else "-" for kind in ("reference", "evaluator")
    ]
    devices = ", ".join(f"{name} {count}" for name, count in sorted(unit.devices.items()))
    return (unit.unit, *times, *ratios, unit.error or devices or unit.placement_error)
