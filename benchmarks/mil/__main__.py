"""python -m edgewright.benchmarks.mil: write docs/mil-evaluator.md, or run one of the proofs."""

import argparse
import sys
from pathlib import Path

from edgewright.benchmarks.mil.operations import page
from edgewright.benchmarks.mil.their_tests import run
from edgewright.benchmarks.mil.vendor import largest_differences


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m edgewright.benchmarks.mil", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/mil-evaluator.md"), help="where the table goes")
    parser.add_argument("--vendor", nargs=2, type=Path, metavar=("PACKAGE", "ONNX"), help="compare two files instead")
    parser.add_argument("--their-tests", type=int, metavar="N", help="run N cases of each test of coremltools")
    given = parser.parse_args()
    if given.vendor:
        for name, error in largest_differences(*given.vendor).items():
            print(f"{name}: largest difference {error:.2g}")
        return 0
    if given.their_tests:
        return run(given.their_tests)
    given.out.write_text(page(), encoding="utf-8")
    print(f"{given.out} written", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
