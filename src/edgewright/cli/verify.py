"""`edgewright verify`."""

from typing import Annotated

import typer

from edgewright.cli.console import Json, Trust, emit, progress


def command(
    a: Annotated[str, typer.Argument(metavar="A", help="The artifact to trust.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The artifact to judge.")],
    data: Annotated[str, typer.Option("--data", metavar="DATA", help="Samples; their test part is used.")],
    trust: Trust = False,
    json_: Json = False,
) -> None:
    """Run two artifacts on the same samples; exit 1 when B does not answer like A.

    Example: edgewright verify model.onnx model.tflite --data samples.npz
    """
    from edgewright import api

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
