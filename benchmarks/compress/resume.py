"""Results of finished units as JSON files, so that a run that was stopped goes on where it was."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgewright.errors import BadInput
from edgewright.staging import replacing


def remembered(out: Path, key: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `make` gave for `key` in an earlier run of the same `out`, else what it gives now, kept in `out/results`.

    `key` names everything that the result depends on (part, network, settings, seed): letters, digits and ``-._=``.
    Raises BadInput for another key, or a file that does not hold a JSON object.
    """
    if not re.fullmatch(r"[\w.=-]+", key):
        raise BadInput(f"{key!r} cannot name a result: letters, digits and -._= can")
    path = out / "results" / f"{key}.json"
    if not path.exists():
        text = json.dumps(make(), indent=1)
        with replacing(path) as aside:
            aside.write_text(text + "\n")
    try:
        result = json.loads(path.read_text())
    except ValueError as error:
        raise BadInput(f"{path} holds no result ({error}): remove it, and it is made again") from None
    if not isinstance(result, dict):
        raise BadInput(f"{path} holds no JSON object: remove it, and it is made again")
    return result
