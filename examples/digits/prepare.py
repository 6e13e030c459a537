"""Handwritten digits → `digits.npz`: 1,797 grey 8×8 images of 16 levels, with labels and a split.

The test set of Alpaydin and Kaynak's "Optical Recognition of Handwritten Digits" (UCI), as scikit-learn ships it. The
writers follow each other in blocks, so the parts are blocks too.
"""

import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits  # type: ignore[import-untyped]

PARTS = {"train": 1100, "validation": 200, "test": 497}  # in the order of the file


def main(out: Path) -> None:
    digits = load_digits()
    np.savez(
        out,
        image=digits.images[:, None].astype(np.uint8),  # [n, 1, 8, 8]
        labels=digits.target.astype(np.int64),
        split=np.repeat(list(PARTS), list(PARTS.values())),
    )
    print(f"{out}: {len(digits.images)} images of 1×8×8: {PARTS}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("digits.npz"))
