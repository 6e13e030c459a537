"""A folder of stages as one model: a sample goes through them until its gate lets it leave."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.compress.dynamic.gate import Gate
from edgewright.errors import BadInput
from edgewright.runtimes.contract import Contract
from edgewright.runtimes.runtime import Session

MANIFEST = "staged.json"
VERSION = 1


@dataclass(frozen=True)
class StageFile:
    """One stage's file in the folder, its tensors (the first output: its scores), and what one run costs."""

    file: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    macs: int
    size_bytes: int
    latency_ms: float | None = None

    @property
    def scores(self) -> str:
        return self.outputs[0]


class StagedSession:
    """Runs stages in order on one sample; gives the model's output, and `exit`: where it left, 1 the first."""

    def __init__(
        self, stages: Sequence[StageFile], sessions: Sequence[Session], gate: Gate, contract: Contract
    ) -> None:
        self._stages = tuple(zip(stages, sessions, strict=True))
        self._gate = gate
        self.contract = contract

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """One sample. Raises BadInput on a wrong name or shape."""
        self.contract.to_file(inputs)
        held = dict(inputs)
        for index, (stage, session) in enumerate(self._stages):
            held |= session.run({name: held[name] for name in stage.inputs})
            scores = held[stage.scores]
            if index == len(self._gate.thresholds) or self._gate.leaves(index, scores)[0]:
                break
        return {self.contract.outputs[0].name: scores, "exit": np.array([index + 1])}

    def prepared(self, inputs: Mapping[str, NDArray[Any]]) -> Callable[[], None]:
        """A run on this sample, the gates' own work within."""

        def once() -> None:
            self.run(inputs)

        return once

    def intermediates(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:  # noqa: ARG002
        """None: each stage's own session knows them."""
        return {}


def run_all_stages(
    stages: Sequence[StageFile], sessions: Sequence[Session], inputs: Mapping[str, NDArray[Any]]
) -> list[NDArray[Any]]:
    """The scores [n, classes] of every exit for all samples, as if nobody left."""
    rows: list[list[NDArray[Any]]] = [[] for _ in stages]
    for row in range(len(next(iter(inputs.values())))):
        held = {name: array[row : row + 1] for name, array in inputs.items()}
        for index, (stage, session) in enumerate(zip(stages, sessions, strict=True)):
            held |= session.run({name: held[name] for name in stage.inputs})
            rows[index].append(held[stage.scores])
    return [np.concatenate(each) for each in rows]


def read_staged(folder: Path) -> tuple[tuple[StageFile, ...], Gate, Contract]:
    """What a folder's manifest says. Raises BadInput when it is not readable."""
    try:
        raw = json.loads((folder / MANIFEST).read_text())
        if raw["version"] != VERSION:
            raise BadInput(f"{folder / MANIFEST} is of version {raw['version']}, wanted {VERSION}")
        stages = tuple(
            StageFile(
                row["file"],
                tuple(row["inputs"]),
                tuple(row["outputs"]),
                row["macs"],
                row["size_bytes"],
                row["latency_ms"],
            )
            for row in raw["stages"]
        )
        return stages, Gate.from_json(raw["gate"]), Contract.from_json(json.dumps(raw["contract"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{folder}: no readable {MANIFEST} ({error})") from None
