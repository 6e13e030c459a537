"""What apps and people read off a file: name, author, labels, what is left for the app to do. TFLite and Core ML."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgewright.errors import BadInput


@dataclass(frozen=True)
class Metadata:
    """`labels` name the classes, along the last axis of an output. `mean` and `std`, one for all channels or one each,
    say what is left for the app to do: input = (raw - mean) / std. `tensors` describe inputs and outputs by name;
    `user` are keys of your own, which only Core ML files hold.
    """

    name: str = ""
    description: str = ""
    version: str = ""
    author: str = ""
    license: str = ""
    labels: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    tensors: Mapping[str, str] = field(default_factory=dict)
    user: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problems = []
        if len(self.mean) != len(self.std):
            problems.append(f"{len(self.mean)} mean(s) but {len(self.std)} std(s)")
        if any(value <= 0 for value in self.std):
            problems.append("std must be positive")
        if any("\n" in label for label in self.labels):
            problems.append("a label may not hold a line break")
        for name, table in (("tensors", self.tensors), ("user", self.user)):
            if not isinstance(table, Mapping) or not all(type(value) is str for value in table.values()):
                problems.append(f"{name} is {table!r}, wanted a table of texts")
        if problems:
            raise BadInput("metadata: " + "; ".join(problems))


def read_labels(path: Path) -> tuple[str, ...]:
    """One label a line. Raises BadInput when there is none, or no such file."""
    try:
        labels = tuple(path.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: no file of labels ({error})") from None
    if not labels:
        raise BadInput(f"{path}: it holds no labels, one a line")
    return labels
