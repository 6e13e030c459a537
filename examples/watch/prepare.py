"""Smartwatch exercise recordings → `watch.npz`: windows, labels, and a split by subject.

The data ship in the seglearn package (BSD): accelerometer and gyroscope of a smartwatch at 50 Hz, ten subjects, seven
shoulder exercises (Burns et al. 2018, "Shoulder physiotherapy exercise recognition", Physiological Measurement 39(7)).
Their file is pickled, and unpickling can run code: it is read here and nowhere else, after its sha256 was checked.
"""

import hashlib
import importlib.util
import sys
from pathlib import Path

import numpy as np

SHA256 = "eb122f23cdf06ef6bd6c6c5312958ec5cf9d038e2e6d457b8081662c75a42537"
WINDOW, STEP = 100, 50  # samples at 50 Hz: two seconds, half overlapping
PARTS = {"train": (1, 2, 3, 4, 5), "validation": (6, 7), "test": (8, 9, 10)}  # subjects; calibration comes from train


def find_recordings() -> Path:
    """The file inside the installed seglearn package, found without importing it."""
    spec = importlib.util.find_spec("seglearn")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("seglearn is not installed: pip install 'edgewright[example]'")
    return Path(spec.submodule_search_locations[0]) / "data" / "watch_dataset.npy"


def main(out: Path) -> None:
    file = find_recordings()
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    if digest != SHA256:
        sys.exit(f"{file} has sha256 {digest}, not {SHA256}: refusing to unpickle it")
    data = np.load(file, allow_pickle=True).item()
    part_of = {subject: part for part, subjects in PARTS.items() for subject in subjects}
    windows, labels, split = [], [], []
    for recording, label, subject in zip(data["X"], data["y"], data["subject"], strict=True):
        for start in range(0, len(recording) - WINDOW + 1, STEP):
            windows.append(recording[start : start + WINDOW].T)
            labels.append(label)
            split.append(part_of[int(subject)])
    np.savez_compressed(
        out,
        window=np.asarray(windows, np.float32),  # [n, 6 channels, 100 samples]
        labels=np.asarray(labels, np.int64),
        split=np.asarray(split),
    )
    counts = {part: split.count(part) for part in PARTS}
    print(f"{out}: {len(windows)} windows of 6×{WINDOW}, by subject: {counts}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("watch.npz"))
