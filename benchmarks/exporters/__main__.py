"""`python -m edgewright.benchmarks.exporters [PART…] [--out DIR] [--peers DIR] [--only NETWORK,…] [--json]`.

Prints tables with their bars; exit 1 when a bar is missed. Peers are installed into environments of their own, once.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from edgewright.benchmarks.exporters import answers, cost, latency, size, trained
from edgewright.benchmarks.exporters.environments import PEERS, interpreter_of
from edgewright.benchmarks.exporters.files import PRECISIONS, SHAPES, Files
from edgewright.benchmarks.quantization.table import Row, Table
from edgewright.errors import BadInput

PARTS: Mapping[str, Callable[[Files, Sequence[str]], Table]] = {
    "size": size.sizes,
    "operators": size.operators,
    **{f"answers-{precision}": partial(answers.of_precision, precision=precision) for precision in PRECISIONS},
    **{f"latency-{precision}": partial(latency.of_precision, precision=precision) for precision in latency.PRECISIONS},
    "from-onnx": cost.from_onnx,
    "from-torch": cost.from_torch,
    "trained": lambda files, _: trained.measure(files.out),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m edgewright.benchmarks.exporters", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--out", type=Path, default=Path("out/exporters"), help="where files are made")
    parser.add_argument("--peers", type=Path, default=Path("out/peers"), help="where peers are installed")
    parser.add_argument("--only", default=",".join(SHAPES), help="networks, separated by commas")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    names = given.only.split(",")
    for known, chosen in ((PARTS, given.parts), (SHAPES, names)):
        if unknown := set(chosen) - set(known):
            parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - started:6.1f} s] {text}", file=sys.stderr, flush=True)

    files = Files(given.out, given.peers, say)
    tables: list[Table] = []
    for measure in (lambda *_: peers(given.peers), *(PARTS[part] for part in given.parts or PARTS)):
        tables.append(measure(files, names))
        if not given.json:
            print(tables[-1], flush=True)
    if given.json:
        print(json.dumps([table.to_json() for table in tables], indent=1))
    return 0 if all(bar.met for table in tables for bar in table.bars) else 1


def peers(folder: Path) -> Table:
    """Installs them; where that fails, the table says why, and so does every row of that peer."""
    rows: list[Row] = []
    for name, wanted in PEERS.items():
        row: Row = {"peer": name, "packages": " ".join(package for call in wanted.installs for package in call)}
        try:
            row["Python"] = str(interpreter_of(name, folder))
        except BadInput as error:
            row["Python"] = str(error)
        rows.append(row)
    return Table("Peers", rows)


if __name__ == "__main__":
    sys.exit(main())
