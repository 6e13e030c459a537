"""`edgewright bench`."""

import json
from typing import Annotated

import typer

from edgewright.benchmarks.units import bytes_text
from edgewright.cli.console import Json, RuntimeName, Threads, Trust, emit, progress, table
from edgewright.errors import Error


def command(
    artifacts: Annotated[list[str], typer.Argument(metavar="ARTIFACT…", help="Model files that can run here.")],
    threads: Threads = 1,
    runtime: RuntimeName = None,
    trust: Trust = False,
    json_: Json = False,
) -> None:
    """Measure latency and peak memory on this machine, in fresh interleaved processes.

    Example: edgewright bench model.onnx model.tflite
    """
    from edgewright import api

    results = api.bench(artifacts, threads=threads, runtime=runtime, trust=trust, progress=progress())
    failed = [result for result in results if isinstance(result, Error)]
    if json_:
        emit([{"error": str(r)} if isinstance(r, Error) else json.loads(r.to_json()) for r in results])
    else:
        heads = ("artifact", "runtime", ">median ms", "95 % interval", ">p90 ms", ">load RAM", ">peak RAM", ">size")
        rows = []
        for path, result in zip(artifacts, results, strict=True):
            if isinstance(result, Error):
                rows.append((path, "failed", *["-"] * 6))
                continue
            low, high = result.interval_ms
            rows.append(
                (
                    path,
                    f"{result.runtime} {result.version}",
                    f"{result.median_ms:.3f}",
                    f"[{low:.3f}, {high:.3f}]",
                    f"{result.p90_ms:.3f}",
                    bytes_text(result.load_ram_bytes),
                    bytes_text(result.peak_ram_bytes),
                    bytes_text(result.size_bytes),
                )
            )
        table("", heads, rows)
        for path, result in zip(artifacts, results, strict=True):
            for note in (str(result),) if isinstance(result, Error) else result.flags:
                print(f"{path}: {note}")
    raise typer.Exit(1 if failed else 0)
