"""Peak resident memory of quantizing one network with few and with many samples, each in a fresh process."""

import os
import subprocess
import sys
from pathlib import Path

from edgewright.benchmarks.quantization.networks import trained, write_data
from edgewright.benchmarks.quantization.table import Bar, Row, Table
from edgewright.data import Samples, load_samples
from edgewright.errors import BadInput

COUNTS = (16, 4096)
DATA_COPIES = 6
"""Of the samples themselves a build may hold so many copies; activations of 4,096 samples would be a hundred."""

NOISE_BYTES = 8 << 20
PROBE = """
import runpy, sys
from pathlib import Path
try:
    runpy.run_module("edgewright", run_name="__main__", alter_sys=True)
finally:
    lines = Path("/proc/self/status").read_text().splitlines()
    print(next(line.split()[1] for line in lines if line.startswith("VmHWM:")), file=sys.stderr)
"""


def measure(out: Path) -> Table:
    """StudentNet: a sample has 1 kB, its activations have a hundred times that."""
    origin, folder = trained("studentnet", out), out / "peak"
    train = load_samples(str(origin.data)).part("train")
    rows: list[Row] = []
    peaks, sizes = [], []
    for count in COUNTS:
        chosen = train.first(count)
        peaks.append(
            peak_bytes(origin.file("float32.onnx"), chosen, origin.part("test").first(16), folder / str(count))
        )
        sizes.append(sum(array.nbytes for array in chosen.inputs.values()))
        rows.append({"samples": count, "data MB": sizes[-1] / 1e6, "peak MB": peaks[-1] / 1e6})
    allowed = DATA_COPIES * (sizes[1] - sizes[0]) + NOISE_BYTES
    bar = Bar("growth of the peak in MB", (peaks[1] - peaks[0]) / 1e6, allowed / 1e6, at_most=True)
    return Table("Peak memory of quantizing StudentNet", rows, [bar])


def peak_bytes(model: Path, calibration: Samples, test: Samples, folder: Path) -> int:
    """Build onnx:int8 from a float file with all of these samples. Raises BadInput when the build fails."""
    data = write_data(folder / "data.npz", calibration, test)
    recipe = folder / "edgewright.toml"
    recipe.write_text(
        f'model = "{model.resolve()}"\ndata = "{data.resolve()}"\ndevices = ["wear-os-w5"]\nprecisions = ["int8"]\n'
        f"[options.quantize]\nsamples = {len(calibration)}\n"
    )
    words = [
        "build",
        "--recipe",
        str(recipe),
        "--no-bench",
        "--out",
        str(folder / "out"),
        "--store",
        str(folder / "store"),
    ]
    done = subprocess.run([sys.executable, "-c", PROBE, *words], env=dict(os.environ), capture_output=True, text=True)
    if done.returncode:
        raise BadInput(f"{' '.join(words)} failed:\n{done.stderr.strip()[-2000:]}")
    return int(done.stderr.split()[-1]) * 1024
