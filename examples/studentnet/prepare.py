"""Fashion-MNIST → `fashion.npz`: grey 28×28 images padded to 32×32, as raw bytes, with labels and a split.

Xiao et al. 2017, "Fashion-MNIST" (arXiv 1708.07747, MIT licence). The files come with a Debian package.
"""

import gzip
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FOLDER = Path("/usr/share/datasets/fashion-mnist")
TRAIN, VALIDATION, TEST = 20_000, 2_000, 10_000  # of 60,000 training and 10,000 test images


def read(name: str) -> NDArray[np.uint8]:
    """An IDX file: a header of 4 bytes and one big-endian 32-bit size an axis, then the bytes."""
    raw = gzip.decompress((FOLDER / name).read_bytes())
    sizes = np.frombuffer(raw, ">i4", count=raw[3], offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(sizes)


def main(out: Path) -> None:
    if not FOLDER.is_dir():
        sys.exit(f"{FOLDER} is absent: sudo apt-get install dataset-fashion-mnist (Debian, Ubuntu)")
    learn = TRAIN + VALIDATION
    images = np.concatenate([read("train-images-idx3-ubyte.gz")[:learn], read("t10k-images-idx3-ubyte.gz")[:TEST]])
    labels = np.concatenate([read("train-labels-idx1-ubyte.gz")[:learn], read("t10k-labels-idx1-ubyte.gz")[:TEST]])
    np.savez_compressed(
        out,
        image=np.pad(images, ((0, 0), (2, 2), (2, 2)))[:, None],  # [n, 1, 32, 32] uint8
        labels=labels.astype(np.int64),
        split=np.repeat(["train", "validation", "test"], [TRAIN, VALIDATION, TEST]),
    )
    print(f"{out}: {len(images)} images of 1×32×32 ({TRAIN} train, {VALIDATION} validation, {TEST} test)")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("fashion.npz"))
