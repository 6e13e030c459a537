"""`python -m edgewright.benchmarks.coreml [PART…] [--out DIR] [--json]`.

Prints tables with their bars; exit 1 when a bar is missed.
size: packages against coremltools' own. cost: what MobileNetV2 costs on its way. agreement: int8 against onnxruntime.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from edgewright.benchmarks.coreml import agreement, cost, size
from edgewright.benchmarks.quantization.table import Table

Say = Callable[[str], None]
PARTS: Mapping[str, Callable[[Path, Say], Table]] = {
    "size": lambda out, say: size.measure(out, say=say),
    "cost": cost.measure,
    "agreement": lambda out, _: agreement.measure(out),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m edgewright.benchmarks.coreml", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--out", type=Path, default=Path("out/coreml"), help="where files are made")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - started:6.1f} s] {text}", file=sys.stderr, flush=True)

    tables: list[Table] = []
    for part in given.parts or PARTS:
        tables.append(PARTS[part](given.out, say))
        if not given.json:
            print(tables[-1], flush=True)
    if given.json:
        print(json.dumps([table.to_json() for table in tables], indent=1))
    return 0 if all(bar.met for table in tables for bar in table.bars) else 1


if __name__ == "__main__":
    sys.exit(main())
