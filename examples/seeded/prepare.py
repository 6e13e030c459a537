"""Samples for the seeded networks → one .npz for each beside this file: 128 to calibrate, 256 unseen ones."""

from pathlib import Path

import numpy as np

from tests.models import NETWORKS, samples

CALIBRATION, TEST = 128, 256


def main(folder: Path) -> None:
    for name in NETWORKS:
        parts = [samples(name, CALIBRATION, seed=100), samples(name, TEST, seed=101)]
        np.savez(
            folder / f"{name}.npz",
            input=np.concatenate([part.numpy() for part in parts]),
            split=np.repeat(["calibration", "test"], [CALIBRATION, TEST]),
        )
    print(f"{folder}: samples for {', '.join(NETWORKS)}")


if __name__ == "__main__":
    main(Path(__file__).parent)
