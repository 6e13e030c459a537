"""`python -m edgewright.benchmarks.quantization [PART…] [--out DIR] [--only NETWORK,…] [--json]`, from the checkout.

Prints tables with their bars; exit 1 when a bar is missed.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from edgewright.benchmarks.quantization import agreement, peak, peers, spread, tasks, vit
from edgewright.benchmarks.quantization.table import Table

PARTS: Mapping[str, Callable[..., Table | list[Table]]] = {
    "tasks": tasks.measure,
    "peers": peers.measure,
    "agreement": agreement.measure,
    "spread": spread.measure,
    "vit": vit.measure,
    "peak": peak.measure,
}
WITH_NETWORKS = ("tasks", "peers", "agreement", "spread")
"""The parts that `--only` narrows down."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m edgewright.benchmarks.quantization", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--out", type=Path, default=Path("out/quantization"), help="where files are built")
    parser.add_argument("--only", default="", help="networks, separated by commas")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    unknown = set(given.parts) - set(PARTS)
    if unknown:
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    parts = given.parts or list(PARTS)
    if given.only and (whole := set(parts) - set(WITH_NETWORKS)):
        parser.error(f"--only goes with {', '.join(WITH_NETWORKS)}, not with {', '.join(sorted(whole))}")
    names = {"names": given.only.split(",")} if given.only else {}
    tables: list[Table] = []
    for part in parts:
        found = PARTS[part](given.out, **names)
        tables += found if isinstance(found, list) else [found]
        if not given.json:
            print(*tables[-1 if isinstance(found, Table) else -len(found) :], sep="\n", flush=True)
    if given.json:
        print(json.dumps([table.to_json() for table in tables], indent=1))
    return 0 if all(bar.met for table in tables for bar in table.bars) else 1


if __name__ == "__main__":
    sys.exit(main())
